"""Whether plain values, as JSON gives them, have the types that their readers count on."""

from typing import Any

from histo_simclr.errors import InputError

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def check(content: Any, form: Any, *, where: object, way_out: str) -> None:
    """Compares values with their form.

    Args:
      content: plain values.
      form: a type; [form] of all items of a list; {str: form} of all values of an object; or an
        object whose keys must be there, others may. A float may be written as a whole number, and
        numbers are finite.
      where, way_out: of the error.

    Raises:
      InputError: names the first value of another type.
    """
    if found := _mismatch(content, form, ""):
        name, wanted = found
        raise InputError(f"{name or 'content'} is not {wanted}", where=where, way_out=way_out)


def _mismatch(value: Any, form: Any, name: str) -> tuple[str, str] | None:
    if isinstance(form, list):
        if not isinstance(value, list):
            return name, "a list"
        return _first(_mismatch(each, form[0], f"{name}[{n}]") for n, each in enumerate(value))
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return name, "an object"
        forms = dict.fromkeys(value, form[str]) if str in form else form
        if missing := sorted(forms.keys() - value.keys()):
            return f"{name}.{missing[0]}".lstrip("."), "there"
        return _first(
            _mismatch(value[key], each, f"{name}.{key}".lstrip(".")) for key, each in forms.items()
        )
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = is_number and abs(value) < 2**63 if form is float else type(value) is form
    if fits and form is int:
        fits = abs(value) < 2**63
    return None if fits else (name, _NAMES[form])


def _first(found: Any) -> tuple[str, str] | None:
    return next(filter(None, found), None)
