"""The libraries of the search: two packages of the npm registry, each of one version and checksum.

The first build fetches them into vendor/, which git ignores, and later ones need no network.
"""

import base64
import os
import tarfile
import time
import urllib.request
from dataclasses import dataclass
from hashlib import sha512
from io import BytesIO
from pathlib import Path

REGISTRY = "https://registry.npmjs.org"
VENDOR = Path(__file__).resolve().parent / "vendor"
ATTEMPTS = 3
"""How often a file is asked for: a registry may be busy for a moment."""


@dataclass(frozen=True)
class Library:
    """A version of a package, and what the site takes from it."""

    name: str
    version: str
    integrity: str
    """The SHA-512 that the registry lists, in base64."""
    script: str
    """The file with the code, within the package."""
    licence: str
    """The file with the licence, within the package."""

    def files(self) -> dict[str, str]:
        """The text of each file of the package.

        Raises:
            ValueError: if the package can't be fetched, or isn't the one of the checksum.
        """
        kept = VENDOR / f"{self.name}-{self.version}.tgz"
        packed = kept.read_bytes() if kept.is_file() else b""
        if not self.is_right(packed):
            packed = self.fetched(f"{REGISTRY}/{self.name}/-/{kept.name}")
            VENDOR.mkdir(exist_ok=True)
            # Two builds at a time are two writers: each puts a whole file there.
            temporary = kept.with_name(f".{kept.name}.{os.getpid()}")
            temporary.write_bytes(packed)
            temporary.replace(kept)
        with tarfile.open(fileobj=BytesIO(packed)) as package:
            return {name: package.extractfile(f"package/{name}").read().decode()
                    for name in (self.script, self.licence)}

    def is_right(self, packed: bytes) -> bool:
        """Whether the bytes are those of the checksum."""
        return base64.b64encode(sha512(packed).digest()).decode() == self.integrity

    def fetched(self, url: str) -> bytes:
        """The package from the registry."""
        for attempt in range(ATTEMPTS):
            try:
                with urllib.request.urlopen(url, timeout=30) as answer:
                    packed = answer.read()
                break
            except OSError as error:
                if attempt == ATTEMPTS - 1:
                    raise ValueError(
                        f"{self.name} {self.version}, which the search needs, could not be "
                        f"fetched from {url}: {error}. Connect to a network and build again; "
                        "later builds need none") from error
                time.sleep(attempt + 1)
        if not self.is_right(packed):
            raise ValueError(f"{url}: expected the package whose SHA-512 is {self.integrity}, got "
                             f"{len(packed)} other bytes")
        return packed


MINISEARCH = Library(
    "minisearch", "7.2.0",
    "dqT2XBYUOZOiC5t2HRnwADjhNS2cecp9u+TJRiJ1Qp/f5qjkeT5APcGPjHw+bz89Ms8Jp+cG4AlE+QZ/QnDglg==",
    "dist/umd/index.js", "LICENSE.txt")
STEMMER = Library(
    "stemmer", "2.0.1",
    "bkWvSX2JR4nSZFfs113kd4C6X13bBBrg4fBKv2pVdzpdQI2LA5pZcWzTFNdkYsiUNl13E4EzymSRjZ0D55jBYg==",
    "index.js", "license")


def script() -> str:
    """Both libraries as one script, which defines MiniSearch and stemmer, below their licences."""
    minisearch, stemmer = MINISEARCH.files(), STEMMER.files()
    # The stemmer is an ES module, which a page that is opened from a disk may not import.
    function = stemmer[STEMMER.script].replace("\nexport function", "\nfunction")
    return "\n".join([
        f"/* {MINISEARCH.name} {MINISEARCH.version}\n\n{minisearch[MINISEARCH.licence]}*/",
        minisearch[MINISEARCH.script].split("//# sourceMappingURL")[0],
        f"/* {STEMMER.name} {STEMMER.version}\n\n{stemmer[STEMMER.licence]}*/",
        f"const stemmer = (() => {{\n{function}\nreturn stemmer;\n}})();\n"])
