import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.zoo import networks, table


def test_parse_reads_settings_layers_and_published_counts():
    parsed = table.parse(
        "toy",
        """
        input 1x49x10      # comment
        widths 0.5 1.0
        conv k=10x4 s=2x1 c=64
        dwpw k=3 c=64 n=4
        published 1.0 macs=2.7M params=24k within=6% from some paper, table 1
        """,
    )
    assert parsed.input_shape == (1, 49, 10)
    assert parsed.words("widths") == ["0.5", "1.0"]
    assert parsed.words("resolutions") == []
    conv, dwpw = parsed.layers
    assert (conv.kind, conv.pair("k"), conv.pair("s"), conv.number("n")) == ("conv", (10, 4), (2, 1), 1)
    assert (dwpw.pair("k"), dwpw.pair("s"), dwpw.number("n")) == ((3, 3), (1, 1), 4)
    published = parsed.published["1.0"]
    assert (published.macs, published.params, published.tolerance) == (2.7e6, 24e3, 0.06)
    assert published.source == "some paper, table 1"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("convolution k=3", "unknown word 'convolution'"),
        ("conv kernel=3", "unknown option 'kernel=3'"),
        ("conv k=", "unknown option 'k='"),
        ("conv 3", "unknown option '3'"),
        ("published 1.0 macs=1M params=1M", "published counts without their source"),
    ],
)
def test_parse_names_the_line_that_it_cannot_read(line, complaint):
    with pytest.raises(DwfuseError, match=f"zoo table toy, line 2: {complaint}"):
        table.parse("toy", f"input 3x8x8\n{line}\n")


def test_every_layer_that_a_table_may_name_can_be_built():
    assert table.OPTIONS.keys() == networks.LAYERS.keys()


@pytest.mark.parametrize("family", table.families())
def test_every_table_ends_in_a_classifier_and_states_published_counts(family):
    loaded = table.load(family)
    assert loaded.layers[-1].kind == "dense"
    assert loaded.published
    assert all(len(published.source) > 10 for published in loaded.published.values())
