"""The figures of the chapters: each function takes arrays and returns a matplotlib Figure.

They draw what they are given and compute nothing that a chapter should show.
"""

from minimamba.course.plots.attention import attention_beside_recurrence
from minimamba.course.plots.autograd_function import autograd_function
from minimamba.course.plots.backward_program import backward_program
from minimamba.course.plots.block_family import block_family
from minimamba.course.plots.blocks import mamba_block
from minimamba.course.plots.bracketings import bracketings
from minimamba.course.plots.carried_tiles import carried_tiles
from minimamba.course.plots.channels import layer_of_channels
from minimamba.course.plots.chunk_program import chunk_program
from minimamba.course.plots.chunk_recomputation import chunk_recomputation
from minimamba.course.plots.chunked_scan import chunked_scan, saved_states
from minimamba.course.plots.coefficients import weighted_curves
from minimamba.course.plots.combined_steps import combined_steps
from minimamba.course.plots.compensated_sums import compensated_sums
from minimamba.course.plots.conditioning import two_bases
from minimamba.course.plots.continuous_loop import continuous_loop
from minimamba.course.plots.convolutions import convolution
from minimamba.course.plots.curriculum import curriculum
from minimamba.course.plots.decays import scalar_ssm
from minimamba.course.plots.discrete_parameters import discrete_parameters
from minimamba.course.plots.duality_forms import duality_forms
from minimamba.course.plots.exchanged_layer_state import exchanged_layer_state
from minimamba.course.plots.exchanged_states import exchanged_states
from minimamba.course.plots.factored_block import factored_block
from minimamba.course.plots.fetched_value import fetched_value
from minimamba.course.plots.gates import gated_recurrences
from minimamba.course.plots.gpu_blocks import threads_and_blocks
from minimamba.course.plots.gradient_flow import gradient_flow
from minimamba.course.plots.handed_state import handed_state
from minimamba.course.plots.hardware import grouped_bars, roofline, stacked_bars
from minimamba.course.plots.hbm_traffic import hbm_traffic
from minimamba.course.plots.held_input import held_input
from minimamba.course.plots.hippo_projection import hippo_projection
from minimamba.course.plots.hold_and_reset import hold_and_reset
from minimamba.course.plots.lane_layouts import lane_layouts
from minimamba.course.plots.lane_sums import lane_sums
from minimamba.course.plots.layer_rows import layer_rows
from minimamba.course.plots.layer_stacks import layer_stacks
from minimamba.course.plots.layers import s4_block
from minimamba.course.plots.lines import curves, every_run, mean_and_range, traces
from minimamba.course.plots.load_timelines import load_timelines
from minimamba.course.plots.lost_update import lost_update
from minimamba.course.plots.mamba2_block import mamba2_block
from minimamba.course.plots.maps import matrix_times_input
from minimamba.course.plots.mask_blocks import lit_entries, mask_blocks
from minimamba.course.plots.masked_load import masked_load
from minimamba.course.plots.masked_scores import masked_scores
from minimamba.course.plots.memory_hierarchy import memory_hierarchy
from minimamba.course.plots.mixing import dense_beside_diagonal
from minimamba.course.plots.modes import two_modes
from minimamba.course.plots.one_step import one_step
from minimamba.course.plots.operation_traffic import operation_traffic
from minimamba.course.plots.orders import scan_order
from minimamba.course.plots.padded_and_packed import padded_and_packed
from minimamba.course.plots.parallel import nonlinear_beside_linear
from minimamba.course.plots.pasts import pasts_of_one_state
from minimamba.course.plots.planes import (
    annotated_heatmaps,
    eigenvalues,
    images,
    matrices,
    roots_and_eigenvalues,
    stability,
)
from minimamba.course.plots.powers import powers
from minimamba.course.plots.prefill_and_decode import prefill_and_decode
from minimamba.course.plots.product_memory import product_memory
from minimamba.course.plots.program_sums import program_sums
from minimamba.course.plots.program_tiles import program_tiles
from minimamba.course.plots.projections import broadcast_beside_projection, ssm_projections
from minimamba.course.plots.query_scores import query_scores
from minimamba.course.plots.reached_inputs import reached_inputs
from minimamba.course.plots.recalls import associative_recall
from minimamba.course.plots.recomputed_states import recomputed_states
from minimamba.course.plots.reconstructed_past import reconstructed_past
from minimamba.course.plots.recurrence import recurrence_steps
from minimamba.course.plots.reverse_programs import reverse_programs
from minimamba.course.plots.road import road, timeline
from minimamba.course.plots.rounded_sum import rounded_sum
from minimamba.course.plots.routed_experts import routed_experts
from minimamba.course.plots.s4_beside_s6 import s4_beside_s6
from minimamba.course.plots.scan_gradients import forward_and_backward
from minimamba.course.plots.scan_on_gpu import scan_on_gpu
from minimamba.course.plots.scan_program import scan_program
from minimamba.course.plots.scan_values import scan_values
from minimamba.course.plots.scanned_tile import scanned_tile
from minimamba.course.plots.seeds import every_seed
from minimamba.course.plots.selective_layer import selective_layer
from minimamba.course.plots.selective_steps import selective_steps
from minimamba.course.plots.shared_decay import shared_decay
from minimamba.course.plots.shared_states import shared_states
from minimamba.course.plots.sliding import sliding_kernel
from minimamba.course.plots.spectra import kernel_and_spectrum, s4_kernel_steps
from minimamba.course.plots.split_passes import split_passes
from minimamba.course.plots.ssm_shapes import ssm_shapes, ssm_step_shapes
from minimamba.course.plots.states import layer_states, text_heatmaps, token_states
from minimamba.course.plots.step_gradients import step_gradients
from minimamba.course.plots.strides import strides
from minimamba.course.plots.structures import matrix_structures, normal_plus_low_rank
from minimamba.course.plots.style import COLOURS, DASHES, compact, show
from minimamba.course.plots.token_bars import token_bars
from minimamba.course.plots.token_channels import token_channels
from minimamba.course.plots.token_sequences import token_sequences
from minimamba.course.plots.training_loop import training_loop
from minimamba.course.plots.unrolled import unrolled_recurrence
from minimamba.course.plots.vandermonde import vandermonde_product
from minimamba.course.plots.work_and_depth import work_and_depth
from minimamba.course.plots.wrapping import wrapped_convolution

__all__ = ["COLOURS", "DASHES", "annotated_heatmaps", "associative_recall",
           "attention_beside_recurrence", "autograd_function", "backward_program", "block_family",
           "bracketings", "broadcast_beside_projection", "carried_tiles", "chunk_program",
           "chunk_recomputation", "chunked_scan", "combined_steps", "compact", "compensated_sums",
           "continuous_loop", "convolution", "curriculum", "curves", "dense_beside_diagonal",
           "discrete_parameters", "duality_forms", "eigenvalues", "every_run", "every_seed",
           "exchanged_layer_state", "exchanged_states", "factored_block", "fetched_value",
           "forward_and_backward", "gated_recurrences", "gradient_flow", "grouped_bars",
           "handed_state", "hbm_traffic", "held_input", "hippo_projection", "hold_and_reset",
           "images", "kernel_and_spectrum", "lane_layouts", "lane_sums", "layer_of_channels",
           "layer_rows", "layer_stacks", "layer_states", "lit_entries", "load_timelines",
           "lost_update", "mamba2_block", "mamba_block", "mask_blocks", "masked_load",
           "masked_scores", "matrices", "matrix_structures", "matrix_times_input",
           "mean_and_range", "memory_hierarchy", "nonlinear_beside_linear", "normal_plus_low_rank",
           "one_step", "operation_traffic", "padded_and_packed", "pasts_of_one_state", "powers",
           "prefill_and_decode", "product_memory", "program_sums", "program_tiles", "query_scores",
           "reached_inputs", "recomputed_states", "reconstructed_past", "recurrence_steps",
           "reverse_programs", "road", "roofline", "roots_and_eigenvalues", "rounded_sum",
           "routed_experts", "s4_beside_s6", "s4_block", "s4_kernel_steps", "saved_states",
           "scalar_ssm", "scan_on_gpu", "scan_order", "scan_program", "scan_values",
           "scanned_tile", "selective_layer", "selective_steps", "shared_decay", "shared_states",
           "show", "sliding_kernel", "split_passes", "ssm_projections", "ssm_shapes",
           "ssm_step_shapes", "stability", "stacked_bars", "step_gradients", "strides",
           "text_heatmaps", "threads_and_blocks", "timeline", "token_bars", "token_channels",
           "token_sequences", "token_states", "traces", "training_loop", "two_bases", "two_modes",
           "unrolled_recurrence", "vandermonde_product", "weighted_curves", "work_and_depth",
           "wrapped_convolution"]
