"""The verbs of an encrypted memory, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BadInput
from .outcomes import Shown
from .verb import Given, Parameter, Verb

if TYPE_CHECKING:
    from ..memory import Memory

__all__ = ["VAULT_VERBS"]


def _own_key(memory: Memory, _: Given) -> Shown:
    memory.own_key()
    return Shown({"space": memory.space}, (f"the space {memory.space!r} has a key of its own",))


def _shred(memory: Memory, _: Given) -> Shown:
    done = memory.shred()
    said = f"the key of the space {done.space!r} is gone, with {len(done.files)} files of {done.bytes} bytes"
    return Shown({"space": done.space, "files": list(done.files), "bytes": done.bytes}, (said,))


def _closed(_memory: Memory, _given: Given) -> Shown:
    raise BadInput("keys are changed while the memory is closed", hint="use the functions of pinyon.store.vault")


VAULT_VERBS: tuple[Verb, ...] = (
    Verb(
        "new-key",
        "Write a random key into a new file that only you can read.",
        "",
        ("pinyon new-key ~/pinyon.key",),
        (Parameter("path", "Where to", "file", "argument", shown="FILE", is_required=True),),
        ("pinyon.store.vault:new_key", "pinyon.store.vault:read_key"),
        _closed,
    ),
    Verb(
        "encrypt",
        "Encrypt a memory: database, log, index and blobs.",
        "With --key-file, or a passphrase in PINYON_KEY. The encrypted copy is compared before it takes the place of"
        " the plain one. A new memory is encrypted from the start when a key is given to the first verb.",
        ("pinyon encrypt --key-file ~/pinyon.key",),
        (),
        ("pinyon.store.vault:encrypt_store",),
        _closed,
    ),
    Verb(
        "decrypt",
        "Make an encrypted memory a plain one.",
        "",
        ("pinyon decrypt --key-file ~/pinyon.key",),
        (),
        ("pinyon.store.vault:decrypt_store",),
        _closed,
    ),
    Verb(
        "rekey",
        "Let another key open the memory from now on.",
        "With --master everything is also written anew under new keys, for when somebody may have the old ones.",
        ("pinyon rekey --key-file old.key --new-key-file new.key", "pinyon rekey --key-file my.key --master"),
        (
            Parameter("new_key_file", "File with the key from now on", "file", "edge", ("--new-key-file",), "FILE"),
            Parameter("master", "Write everything anew under new keys", "flag", "edge", ("--master",)),
        ),
        ("pinyon.store.vault:Vault.rotate_key", "pinyon.store.vault:Vault.rotate_master"),
        _closed,
    ),
    Verb(
        "own-key",
        "Give the space a key of its own, so that it can be shredded.",
        "For encrypted memories; the space must hold nothing yet.",
        ("pinyon own-key --space ward --key-file ~/pinyon.key",),
        (),
        ("pinyon.keeping:Keeping.own_key",),
        _own_key,
    ),
    Verb(
        "shred",
        "Destroy the key of the space, and so every copy of everything it holds.",
        "",
        ("pinyon shred --space ward --key-file ~/pinyon.key --yes",),
        (Parameter("yes", "Do not ask", "flag", "edge", ("--yes", "-y")),),
        ("pinyon.keeping:Keeping.shred",),
        _shred,
    ),
)
"""New-key, encrypt, decrypt, rekey, own-key, shred."""
