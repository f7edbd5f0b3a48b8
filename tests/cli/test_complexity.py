"""`adln complexity` prints Table 1's sizes."""

import json

from click.testing import CliRunner

from adln.cli.complexity import complexity


def test_the_table_has_the_paper_s_figures() -> None:
    output = CliRunner().invoke(complexity).output
    for params in ("479,552", "1,924,672", "9,400,384", "23,508,432"):
        assert params in output
    for flops in ("0.5846", "1.2822", "2.2643", "4.0775"):
        assert flops in output


def test_a_program_gets_json() -> None:
    rows = json.loads(CliRunner().invoke(complexity, ["--json"]).stdout)
    assert rows["Res2"]["params"] == 1_924_672
    assert [round(row["flops"] / 1e9, 2) for row in rows.values()] == [0.58, 1.28, 2.26, 4.08]


def test_attention_can_be_left_out() -> None:
    rows = json.loads(CliRunner().invoke(complexity, ["--json", "--no-attention"]).stdout)
    assert rows["Res4"]["params"] == 23_508_032
