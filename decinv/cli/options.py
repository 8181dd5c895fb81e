"""What is wrong with an option of the command line or a key of a configuration, in one sentence."""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from jsonargparse import set_dumper
from lightning import Callback, LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser
from torch.optim import Optimizer

import decinv.callbacks
import decinv.codecs
import decinv.data
import decinv.diffusion
import decinv.editing
import decinv.images.attacks
import decinv.methods
import decinv.modules
import decinv.updates
import decinv.watermark
from decinv.cli.yaml_files import to_yaml

set_dumper("yaml", to_yaml)

CLASSES: dict[str, tuple[ModuleType, type]] = {
    "model": (decinv.modules, LightningModule),
    "data": (decinv.data, LightningDataModule),
    "codec": (decinv.codecs, decinv.codecs.Codec),
    "update": (decinv.updates, Optimizer),
    "callbacks": (decinv.callbacks, Callback),
    "pipeline": (decinv.diffusion, decinv.diffusion.Pipeline),
    "sampler": (decinv.diffusion, decinv.diffusion.Sampler),
    "method": (decinv.methods, decinv.methods.Method),
    "decoder": (decinv.modules, decinv.modules.FirstLatent),
    "attack": (decinv.images.attacks, decinv.images.attacks.Attack),
    "watermark": (decinv.watermark, decinv.watermark.Watermark),
    "mask": (decinv.editing, decinv.editing.EditMask),
    "negative": (decinv.editing, decinv.editing.Negative),
}
"""By a key's last part: the package that has classes for it, and what they are subclasses of."""


class OptionError(ValueError):
    """An option or a configuration that cannot be used; its text is a sentence for the user."""


class OptionParser(LightningArgumentParser):
    """A parser that says in one sentence what is wrong, where jsonargparse prints its usage and all that it tried."""

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:  # type: ignore[override]
        """Parse arguments; those that another parser hands on to this one, as it read them, have None written for null."""
        if not self.exit_on_error and args is not None:
            args = [f"{one.removesuffix('None')}null" if one.endswith("=None") else one for one in args]
        return super().parse_args(args, *rest, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the sentence, unless another parser asks this one whether a value would do.

        Raises:
            OptionError: Always, in the command line's own parsers.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        raise OptionError(_sentence(message, ex, list(_keys(self)))) from ex


def _keys(parser: LightningArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.option_strings:
            yield action.dest
        elif isinstance(action.choices, dict):
            for choice in action.choices.values():
                yield from _keys(choice)


def _sentence(message: str, error: Exception | None, keys: Sequence[str]) -> str:
    """Word what the parser found; the causes of its error lead from the outermost key to what is wrong with the innermost."""
    texts = list(dict.fromkeys(_texts(error))) or [message]
    key = ".".join(found[1] or found[2] for text in texts if (found := re.match(r'Parser key "([^"]+)":|--(.+)\.help: ', text)))
    leaf = texts[-1]
    value = re.search(r"(?:Got value|Given value): (.*)", leaf)
    if leaf.endswith("is not accepted before subcommand 'fit'"):
        return "Expected `fit` before `-c` and all other options, but got it behind; put it first."
    if found := re.search(r"Option '([^']+)' is not accepted", leaf):
        return _unknown_option(key, found[1], texts)
    if found := re.search(r"(?:dot import path string|Unexpected import path format): (.*)", leaf):
        return _unknown_class(key, found[1])
    if re.search(r"instantiatable class, but \S+ is abstract", leaf):
        return _no_class(key)
    if value and leaf.startswith("Expected a"):
        return f"Expected `{key}` to be {_types(texts)}, but got '{value[1]}'."
    if found := re.search(r"does not accept option '([^']+)'", leaf):
        return f"Expected a key of the configuration, but got `{found[1]}`{_close(found[1], keys)}."
    if found := re.match(r"unrecognized arguments: (\S+)", leaf):
        name = found[1].split("=")[0]
        if key:
            return _unknown_option(key, name.lstrip("-").removesuffix(".help"), texts)
        return f"Expected an option of `fit`, but got '{name}'{_close(name.lstrip('-'), keys, '--')}; see `fit --help`."
    if leaf.startswith("the following arguments are required"):
        missing = " and ".join(f"`{name.removeprefix('fit.')}`" for name in reversed(leaf.split(": ")[1].split(", ")))
        if key:
            return f"Expected `{key}` to have {missing}, but got none; give it."
        return f"Expected a configuration with {missing}; give one, such as `-c configs/decoder_inversion.yaml`."
    if "subcommand" in leaf:
        example = f"{_command()} fit -c configs/decoder_inversion.yaml"
        return f"Expected the subcommand `fit`, as in `{example}`; see `fit --help`."
    plain = " ".join(leaf.split("\n")[0 if not leaf.startswith("Parser key") else -1].split())
    return f"Expected `{key}` to be usable, but: {plain}." if key else f"Expected usable options, but: {plain.rstrip('.')}."


def _command() -> str:
    """Give the command that the user ran, as the shell knows it."""
    return "python main.py" if Path(sys.argv[0]).name == "main.py" else "decinv"


def _texts(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error.args[0]) if isinstance(error, KeyError) else str(error)
        error = error.__cause__


def _unknown_option(key: str, option: str, texts: Sequence[str]) -> str:
    """Say which options the class takes that was given last on the way to the unknown one."""
    paths = re.findall(r"class_path[ =]'([\w.]+)'", "\n".join(texts[1:]))
    if key in ("model", "data") and paths and paths[-1].startswith("lightning."):
        return _no_class(key)
    module, _, name = (paths[-1] if paths else "").rpartition(".")
    kind = getattr(import_module(module), name, None) if module else None
    names = [] if kind is None else [name for name in inspect.signature(kind).parameters if name not in ("params", "kwargs")]
    takes = f"; it takes {', '.join(names)}" if names else ""
    return f"Expected an option of {name or 'its class'}, but got `{key}.{option}`{_close(option, names)}{takes}."


def _unknown_class(key: str, name: str) -> str:
    names = _classes(key)
    known = f", such as {', '.join(names)}," if names else ""
    return f"Expected `{key}` to be a class{known} or a YAML file, but there is no '{name}'{_close(name, names)}."


def _no_class(key: str) -> str:
    """Say that there are options, but nothing yet whose they could be."""
    names = _classes(key)
    example = f", such as {', '.join(names)}," if names else ""
    return f"Expected a class for `{key}`{example} before its options, but got none; put `--{key} CLASS` in front of them."


def _classes(key: str) -> list[str]:
    """Name the classes that would do for a key, where its last part is known."""
    if key.rsplit(".", 1)[-1] not in CLASSES:
        return []
    package, base = CLASSES[key.rsplit(".", 1)[-1]]
    classes = inspect.getmembers(package, inspect.isclass)
    return [entry for entry, kind in classes if issubclass(kind, base) and not inspect.isabstract(kind)]


def _types(texts: Iterable[str]) -> str:
    """Name the types that would do: those of the innermost union, or the only one."""
    unions = [found[1] for text in texts if (found := re.search(r"^Subtypes: \[(.*)\]$", text, re.MULTILINE))]
    leaf = list(texts)[-1]
    text = unions[-1] if unions and "Union" in list(texts)[-2] else leaf.removeprefix("Expected a ").split(". Got value")[0]
    choices = [value for values in re.findall(r"Literal\[(.*?)\]", text) for value in values.split(", ")]
    kinds = re.findall(r"<class '([\w.]+)'>|((?:list|tuple|dict)\[[\w., ]+\])", text)
    names = [nested or name.rsplit(".", 1)[-1] for name, nested in kinds]
    parts = [", ".join(dict.fromkeys(choice.strip("'") for choice in choices))] if choices else []
    parts += ["null" if name == "NoneType" else name for name in names]
    return ("one of " if choices else "") + " or ".join(parts or [text])


def _close(name: str, names: Sequence[str], prefix: str = "") -> str:
    found = get_close_matches(name, names, 1)
    return f" (did you mean `{prefix}{found[0]}`?)" if found else ""
