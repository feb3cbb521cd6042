"""Collectives read from HLO: lines as XLA's backends print them, written by hand."""

import pytest

from histo_simclr import collectives
from histo_simclr.collectives import Array, Collective

GROUPS = "channel_id=2, replica_groups={{0,1,2,3}}, use_global_device_ids=true"


@pytest.mark.parametrize(
    ("line", "kind", "arrays", "size"),
    [
        (
            f"  %all-reduce.3 = f32[64,3]{{1,0}} all-reduce(%dot.8), {GROUPS}, to_apply=%add",
            "all-reduce",
            [Array("f32", (64, 3))],
            768,
        ),
        (
            "  ROOT %all-reduce = (f32[512]{0}, /*index=1*/bf16[], pred[8]{0}) all-reduce(%a, %b, "
            "/*index=2*/%c), replica_groups=mesh['axis_0'=8] {'axis_0'}",
            "all-reduce",
            [Array("f32", (512,)), Array("bf16", ()), Array("pred", (8,))],
            2048 + 2 + 8,
        ),
        # A TPU's layout has tiles, with parentheses and commas of their own.
        (
            "%all-gather.1 = f32[128,64]{0,1:T(8,128)S(1)} all-gather(%z), dimensions={1}",
            "all-gather",
            [Array("f32", (128, 64))],
            32768,
        ),
        ("%r = s32[4]{0} reduce-scatter(%p), to_apply=%add", "reduce-scatter", None, 16),
        ("%c = u8[6]{0} collective-permute(%p)", "collective-permute", None, 6),
        ("%t = (f32[4,1]{1,0}, f32[4,1]{1,0}) all-to-all(%a, %b)", "all-to-all", None, 32),
        # Started and done: the first says both what goes in and what comes out.
        ("%s = f32[256]{0} all-reduce-start(%p), to_apply=%add", "all-reduce", None, 1024),
        (
            "%s = (f32[8,16]{1,0}, f32[64,16]{1,0}) all-gather-start(%p), dimensions={0}",
            "all-gather",
            [Array("f32", (64, 16))],
            4096,
        ),
        (
            "%s = ((f32[8]{0}, f32[2]{0}), (f32[64]{0}, f32[16]{0})) all-gather-start(%p, %q)",
            "all-gather",
            [Array("f32", (64,)), Array("f32", (16,))],
            320,
        ),
        (
            "%s = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%p)",
            "collective-permute",
            [Array("f32", (8,))],
            32,
        ),
    ],
)
def test_an_instruction_gives_its_kind_arrays_and_bytes(line, kind, arrays, size):
    (found,) = collectives.read(line)
    assert (found.kind, found.bytes) == (kind, size)
    assert arrays is None or found.arrays == tuple(arrays)


@pytest.mark.parametrize(
    "line",
    [
        "%done = f32[256]{0} all-reduce-done(%all-reduce-start)",
        "%add_fusion = f32[8,128]{1,0} fusion(%all-reduce.40, %dot.7), kind=kLoop, calls=%fused",
        "%wrapped = f32[8]{0} copy(%collective-permute.6)",
        "%all-reduce_computation (x: f32[], y: f32[]) -> f32[] {",
        "%get-tuple-element = f32[64]{0} get-tuple-element(%all-reduce.3), index=0",
    ],
)
def test_what_only_names_a_collective_is_none(line):
    assert collectives.read(line) == []


def test_a_program_gives_them_in_order():
    program = "\n".join(
        (
            "HloModule step",
            "ENTRY %main (p: f32[8]) -> f32[8] {",
            "  %p = f32[8]{0} parameter(0)",
            "  %s = (f32[8]{0}, f32[16]{0}) all-gather-start(%p), dimensions={0}",
            "  %d = f32[16]{0} all-gather-done(%s)",
            "  ROOT %all-reduce = f32[16]{0} all-reduce(%d), to_apply=%add",
            "}",
        )
    )
    whole = (Array("f32", (16,)),)
    assert collectives.read(program) == [
        Collective("all-gather", whole),
        Collective("all-reduce", whole),
    ]
