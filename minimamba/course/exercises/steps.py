"""The way to each solution, in steps: what `exercises.hint` gives, one at a time."""

STEPS = {
    "00.1": ("The new state is a sum of two terms: what is left of the old state, and what the "
             "input adds.",
             "Each weight multiplies one of them: A_bar the state, B_bar the input."),
    "00.2": ("The decay of section 3 is an exponential, Ā = e^(ΔA).",
             "`math.exp` takes a plain number. Δ and A are multiplied, and A is negative "
             "already."),
    "00.3": ("The state is held exactly where Δ is 0, since e^(0 · A) = 1.",
             "`flag` is 0 or 1. Which factor turns that into 0 or 5?"),
    "00.4": ("Start with h = 0 for each sequence, `torch.zeros_like(x[:, 0])`, and "
             "an empty list.",
             "At step t the old state is multiplied by exp(−Δ_t), and Δ_t B x_t is added.",
             "Append each h to the list; `torch.stack(states, 1)` makes (batch, length) of it."),
    "01.1": ("The state decays like e^(At). Set this to one half.",
             "Take the logarithm of both sides: At = −ln 2. Solve for t."),
    "01.2": ("h(t) is the integral of the impulse response e^(As) B from s = 0 to t.",
             "The integral of e^(As) is e^(As)/A; insert both ends.",
             "Check the limit: for large t it has to be −B/A, which is positive for B > 0."),
    "01.3": ("A ramp is the integral of a step, so its response is that of 01.2, integrated: B "
             "(e^(At) − 1 − At)/A².",
             "At A = 0 that is 0/0. Write z = At, and compare it with φ₂(z) = (e^z − 1 − z)/z².",
             "So h = B t² φ₂(At); `continuous.phi(2, ...)` takes a tensor, "
             "`torch.as_tensor(A * t)`."),
    "01.4": ("Begin with the zero state in a list, and add one state per gap: k runs over len(t) "
             "− 1 gaps.",
             "Ā = `torch.linalg.matrix_exp(A * (t[k + 1] - t[k]))`.",
             "A⁻¹ y is `torch.linalg.solve(A, y)`, with y = Ā B − B. Then h ← Ā h + B̄ x[k]."),
    "02.1": ("For A ≠ 0: Ā = e^(ΔA), and B̄ = (Ā − 1)/A · B.",
             "At A = 0 the state is the integral of its input: Ā = 1, B̄ = ΔB. That "
             "needs an `if`.",
             "For a small ΔA, `math.expm1` keeps the digits that e^(ΔA) − 1 loses."),
    "02.2": ("One mode of Euler's rule is multiplied by 1 + ΔA per step. When does its size "
             "exceed 1?",
             "With A < 0 that is at ΔA < −2, so Δ must stay below 2/|A|.",
             "All modes share one Δ: which of them sets the limit?"),
    "02.3": ("After n steps, Ā^n = e^(nΔA) of the state is left.",
             "Set this to the fraction, and take the logarithm: nΔA = ln(fraction). Solve for Δ."),
    "02.4": ("With the gate g = σ(s), the state is h_t = (1 − g_t) h_{t−1} + g_t x_t.",
             "Keep one row of weights, (length,), zero at first: the weights in the "
             "current state.",
             "At each step multiply the whole row by 1 − g_t, then set entry t to g_t, and "
             "append a copy to the rows."),
    "02.5": ("Loop over the steps; each has its own Δ, so Ā and B̄ are computed in the loop.",
             "Ā = exp(Δ_t A) and B̄ = (Ā − 1)/A · B, both (N,), for all components at once.",
             "h ← Ā h + B̄ x_t. Append each h; `torch.stack` makes (length, N)."),
    "03.1": ("K_l = Σ_n C_n Ā_n^l B̄_n, a sum over the components.",
             "Make the lags a column, `torch.arange(length)[:, None]`, so that `A_bar ** lags` "
             "is (length, N).",
             "Multiply by C and B̄, (N,), and sum over the last axis."),
    "03.2": ("A product of two spectra is a circular convolution: its end wraps around.",
             "Pad both to len(k) + len(x) − 1: that is the second argument of `rfft`.",
             "Transform back with the same size, and keep the first len(x) values."),
    "03.3": ("The system is linear: add the response to the input, from a zero state, and what "
             "the initial state alone gives.",
             "Alone, it gives y_t = C Ā^(t+1) h.",
             "That is the kernel of a system with Āh in the place of B̄."),
    "03.4": ("The kernels as in 03.1, with one axis more: `torch.arange(length)[:, None, None]` "
             "against (D, N), summed over N: (L, D).",
             "The length is axis 0 of the kernels and axis 1 of x: give `rfft` a `dim` for each.",
             "Pad to 2L, multiply, transform back along axis 1, and keep the first L steps."),
    "04.1": ("Below the diagonal, k < n, the entry is −√(2n + 1) √(2k + 1); on it, −(n + 1).",
             "`torch.outer(root, root)` has all the products; `.tril(-1)` keeps those below the "
             "diagonal."),
    "04.2": ("The powers are (length, N/2): `A_bar ** torch.arange(length)[:, None]`.",
             "Sum C Ā^l B̄ over the components; each stands for a conjugate pair.",
             "A number and its conjugate add up to twice the real part."),
    "04.3": ("Ā = exp(Δ A) with `delta[:, None]`, and B̄ = (Ā − 1)/A · B, both (d_model, N/2).",
             "The powers get one axis more: `A_bar[..., None] ** torch.arange(length)` is "
             "(d_model, N/2, length).",
             'Sum over N/2, for example by einsum "dn,dnl->ld", and take twice the real part.'),
    "05.1": ("Write the shapes down: delta and x have no d_state, A has no length, B has no "
             "d_inner.",
             "An axis of size 1 stands for what is missing: `delta[..., None]` is (length, "
             "d_inner, 1), `B[:, None, :]` is (length, 1, d_state).",
             "A_bar = exp(delta · A), and B_bar_x = (delta · x) · B, with these axes."),
    "05.2": ("x_proj maps d_inner features to Δ's low rank, B and C: dt_rank + 2 d_state.",
             "dt_proj maps dt_rank to d_inner, with a bias for each channel.",
             "Add A, d_inner · d_state, and D, one per channel."),
    "05.3": ("e^Δ overflows at 800. Write e^Δ − 1 as e^Δ (1 − e^(−Δ)).",
             "The logarithm of that product is Δ + ln(1 − e^(−Δ)).",
             "For a small Δ, 1 − e^(−Δ) loses its digits; −`math.expm1(-delta)` keeps them."),
    "05.4": ("The state is (batch, d_inner, d_state), zero at first. Loop over the steps.",
             "Ā_t = exp(Δ_t A): `delta[:, t, :, None]` against A. The input is (Δ_t x_t) B_t: "
             "`[..., None]` against `B[:, t, None, :]`.",
             "y_t sums h · C_t over d_state; append, then `torch.stack(y, 1)`."),
    "06.1": ("Write both steps out: h₁ = a1 h + b1, then h₂ = a2 h₁ + b2.",
             "Insert the first into the second. What multiplies h, and what is left over?"),
    "06.2": ("The reach doubles at every level: after k levels a state has combined 2^k steps.",
             "So you need the smallest k with 2^k ≥ length: the logarithm to base 2, rounded up."),
    "06.3": ("In h = a h + b, which value of a makes the old state vanish?",
             "`torch.where(starts, 0.0, a)` sets it at the starts; b stays as it is, since a "
             "sequence's first input counts.",
             "Then any scan will do, even the plain loop."),
    "06.4": ("At a level with reach r, step t is combined with step t − r, for all t ≥ r at "
             "once: `a[r:]` against `a[:-r]`.",
             "The later step decays what came before: b becomes a[r:] · b[:-r] + b[r:], and a "
             "becomes a[r:] · a[:-r].",
             "The first r entries stay: put them in front with `torch.cat`. Compute the new b "
             "before the new a, double r, and stop when r ≥ length."),
    "07.1": ("A program's offsets are tl.program_id(0) * BLOCK + tl.arange(0, BLOCK).",
             "The last program reaches beyond the end: the mask is offsets < length.",
             "`tl.load(x + offsets, mask)`, then `tl.store(y + offsets, value, mask)`."),
    "07.2": ("The rows of a tile are a column, [:, None], and its columns a row, [None, :].",
             "The offset of an element in x is row * row_stride + column * column_stride; in y, "
             "row * columns + column.",
             "The mask needs both: (row < rows) & (column < columns)."),
    "07.3": ("The steps are a column, `tl.arange(0, TILE)[:, None]`; the channels of this "
             "program are a row.",
             "Load with a mask for both axes, and with 0.0 elsewhere, which adds nothing.",
             "`tl.associative_scan(tile, 0, add)` runs along axis 0, where add is a "
             "`@triton.jit` function of two numbers."),
    "07.4": ("The carry of each channel starts at zero, (BLOCK,). Loop over the tiles: `range(0, "
             "length, TILE)`.",
             "Beyond the end load a as 1 and b as 0, so that the state stays.",
             "In row 0 of a tile add a · carry to b; then the scan needs no carry. The new carry "
             "is the last row: `tl.where` and `tl.sum` take it out."),
    "07.5": ("Load A once, (BLOCK, N), and begin with a state of zeros of that shape.",
             "At each step load Δ and x, (BLOCK,), and B and C, (N,); [:, None] and [None, :] "
             "make tiles of their products.",
             "h = tl.exp(Δ A) * h + (Δ x) B; y is tl.sum of h * C over axis 1."),
    "07.6": ("Begin with 07.5. Step t of sequence b is row b * length + t: add that to the "
             "pointers' offsets.",
             "Where SOFTPLUS is set, Δ goes through softplus after the load. Where t is a "
             "multiple of CHUNK, store h before you update it.",
             "At the end of a step: y + D x, and if there is a z, times silu(z)."),
    "08.1": ("The gradient of h_t has two sources: y_t, which gives dy_t C_t, and h_{t+1}.",
             "What comes from h_{t+1} is its gradient, times the decay of step t + 1.",
             "So at the end of an iteration, which belongs to step t, set from_later = exp(Δ_t "
             "A) dh for the step before."),
    "08.2": ("The step is h = exp(Δ A) before + Δ x B. Take its parts one by one.",
             "By the input: dx = Δ Σ_n dh B, and one part of d_delta is x Σ_n dh B.",
             "By the exponent: d_exponent = dh · A_bar · before. Then dA = d_exponent Δ, and "
             "d_delta gets Σ_n d_exponent A. And d_before = A_bar dh."),
    "08.3": ("B_n adds Δ x B_n to each channel's state, so dB_n = Σ_d dh Δ x.",
             "y = Σ_n C_n h, so dC_n = Σ_d h dy.",
             "`tl.sum(..., 0)` sums over this program's channels; the others' parts are added by "
             "`tl.atomic_add`."),
    "08.4": ("Take the parts of the text one after the other, and run the check after each.",
             "Part 1 recomputes the chunk's states from its saved one; loop over the chunks from "
             "the last to the first.",
             "For a step of the way back, 08.2 and 08.3 have the formulas; dh = from_later + "
             "dy_t C_t is 08.1."),
    "08.5": ("One state is saved per chunk: how many chunks are there, if the last may be short?",
             "While a chunk is worked on, its `chunk` states are there as well."),
    "09.1": ("The window is the inputs before and the new one, oldest first: "
             "`torch.cat([conv_state, x[None]])`, (d_conv, channels).",
             "The output sums window · weight over the window, with the weight transposed, and "
             "adds the bias.",
             "The next conv_state is the window without its oldest row."),
    "09.2": ("Mamba's cache per layer: d_inner · d_state, and d_inner · (d_conv − 1).",
             "Attention's after n tokens: 2 n d_model. Divide both by d_model; expand is left.",
             "The smallest n that is *larger*: whole division, plus 1."),
    "09.3": ("Turn it around: loop over how far one looks back, from 0 to d_conv − 1.",
             "For one distance, y[back:] gets weight[:, d_conv − 1 − back] · x[:len(x) − back].",
             "Multiply by 1 where seq_idx is the same at both ends, and by 0 elsewhere."),
    "10.1": ("Two cases: step < warmup, and the rest.",
             "The rise is peak · (step + 1)/warmup.",
             "Let `done` run from 0 to 1 over the steps after the rise; the cosine is peak · (1 "
             "+ cos(π done))/2."),
    "10.2": ("The norm of all parts together is the root of the sum of all squares.",
             "The factor is max_norm / norm, but never above 1.",
             "max_norm / max(norm, max_norm) is both cases in one."),
    "10.3": ("After n steps more, margin · A_bar^n times the threshold is left.",
             "That is at least 1 for n ≤ ln(margin) / −ln(A_bar).",
             "Round down, and add the trained length."),
    "11.1": ("A digit is one of ten: log₂ 10 bits. There are people · digits of them.",
             "A book needs a whole number of bits, and a state a whole number of components: "
             "round up both times."),
    "11.2": ("Each later step multiplies what was written by e^(AΔ).",
             "A product of exponentials is the exponential of a sum.",
             "The step at `position` writes; the decays begin with the step after it."),
    "11.3": ("Count the values first: each takes 4 bytes. An F has no cache.",
             "A Mamba block: 2 d_model channels, each with d_state components and 3 inputs.",
             "Attention: a key and a value per token, each of d_model values."),
    "11.4": ("What the state holds for a key is `key @ state`.",
             "What is missing is the value minus that.",
             "Writing outer(key, missing) is read back times keyᵀkey: divide by it."),
    "12.1": ("The decay from s to t is exp(cum[t] - cum[s]); where s > t, put −∞ in the exponent.",
             "Within the chunk: scores = decays · (C_c B_cᵀ), (Q, Q), and y = matmul(scores, x_c).",
             "From before: add exp(cum) times matmul(C_c, h). Then h decays by exp(total), and "
             "each step adds B xᵀ, decayed from that step to the end: exp(total - cum)."),
    "12.2": ("L[t, s] is the product of the decays after s up to t; on the diagonal it is 1.",
             "Row t is row t − 1 times the decay of step t, with a 1 on the diagonal.",
             "That multiplies decays and subtracts nothing, so −∞ does no harm."),
    "12.3": ("What step s writes decays in the later steps of the chunk only, not in its own.",
             "So its factor is the exponential of the sum of log_decay from s + 1 on: a cumulative "
             "sum from the end.",
             "Multiply each row of x by its factor; the sum of outer products is (…).T @ B."),
    "12.4": ("Run through the chunks with one state, which begins as h.",
             "Append the state before you update it: h ← total · h + added."),
    "12.5": ("Split all four tensors into chunks with `part.split(size)`; the last may be shorter.",
             "C_c @ B_c.T is (t, s), without heads; the decays are (t, s, heads). Multiply them, "
             "and sum over s by einsum.",
             "Add what comes from the state: exp(cum) times C_c h. Then update the state of each "
             "head as in 12.3 and 12.4."),
    "A1.1": ("K̂(ω) = Σ_l K_l ω^l.",
             "All powers at once: `omega[:, None] ** torch.arange(len(K))` is (M, L). Multiply "
             "by K and sum over the last axis."),
    "A1.2": ("Without p qᵀ the solution would be b/d.",
             "Multiply the equation by the inverse of the diagonal: y = b/d − (p/d)(qᵀy). Only "
             "the number qᵀy is unknown.",
             "Multiply by qᵀ and solve for it: qᵀy = qᵀ(b/d) / (1 + qᵀ(p/d))."),
    "A1.3": ("Begin with `torch.cat([part, part.conj()])` for all four, and C̃ = C − C Ā^L.",
             "With ω = exp(−2πi k/L) and η = (1 + ω)Δ/2, the fractions are 1/((1 − "
             "ω) − η Λ), (L, N).",
             "Four sums over N, with C̃B, C̃P, P*B and P*P, give the spectrum Δ (CB − CP · η/(1 "
             "+ η PP) · PB); `torch.fft.ifft` makes the kernel."),
    "A2.1": ("Keep a list of the cycles at which the iterations are done.",
             "The data of iteration i were requested when iteration i − ahead began: at 0, or "
             "when iteration i − ahead − 1 was done.",
             "Iteration i computes from the later of two times: its data are there, and "
             "iteration i − 1 is done."),
    "A2.2": ("Which lanes have the bit? `(lane & bit) != 0`.",
             "A lane keeps what it looks after (`torch.where`), and sends the other.",
             "It adds what its partner sends: `sent[lane ^ bit]`."),
    "A2.3": ("Run through the pieces with one state, zero at first, which is the first to be "
             "returned.",
             "A piece takes h to exp(its sum of Δ · A) h + added.",
             "After every pieces_per_split pieces, the state enters the next split: append it."),
    "A2.4": ("Keep two numbers in half precision, both zero at first: the total and the excess.",
             "Follow the text line by line: correct the term, add it, and see by how much the "
             "total grew too much.",
             "Take care that nothing becomes float32: `torch.zeros_like(terms[0])` "
             "is a good start."),
    "A2.5": ("a and b are combined as in chapter 06: a2 a1 and a2 b1 + b2.",
             "The state before the second's last step has gone through all of the first, and all "
             "of the second but its last step.",
             "So p = p2 a1, and h = p2 b1 + h2."),
}
"""For each exercise its steps; the last one all but says the answer."""
