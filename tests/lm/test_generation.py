import numpy as np
import pytest
import torch
from architectures import make
from scipy.stats import chisquare
from transformers import GenerationConfig

from pluralign.core import InputError
from pluralign.lm import drawing, generation
from pluralign.lm.backbone import make_backbone, make_tiny_backbone
from pluralign.lm.decoding import Decoding, draw_tokens
from pluralign.lm.generation import draw_completions, draw_ids, row_seeds
from pluralign.lm.prompts import PromptIds, fit_prompts
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.lm.trunk import context_length

PROMPTS = ["hello there", "a", "what is it that you want to know?"]


@pytest.fixture(params=["llama", "gpt2"], scope="module")
def backbone(request):
    return make_tiny_backbone(architecture=request.param)


def ids(backbone, prompts=PROMPTS):
    return [PromptIds(backbone.tokenizer(prompt)["input_ids"]) for prompt in prompts]


def test_greedy_completions_are_those_of_transformers(backbone):
    found = draw_completions(backbone, ids(backbone), [[1, 2]] * 3, Decoding(12, 0.0))
    model = backbone.model
    for (prompt, _), texts in zip(ids(backbone), found, strict=True):
        tokens = torch.tensor([prompt])
        config = GenerationConfig(
            max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=backbone.tokenizer.eos_token_id
        )
        whole = model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=config)
        expected = backbone.tokenizer.decode(whole[0, len(prompt) :], skip_special_tokens=True)
        assert texts == [expected, expected]


def test_each_next_token_has_the_models_own_distribution(backbone):
    prompt, _ = ids(backbone)[0]
    with torch.inference_mode():
        logits = backbone.model(torch.tensor([prompt])).logits[0, -1].double()
    expected = torch.softmax(logits / 0.7, -1).numpy()
    uniforms = torch.rand(20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = draw_tokens(logits.float().expand(20000, -1), uniforms, 0.7).numpy()
    counts = np.bincount(drawn, minlength=len(expected))
    common = expected * 20000 >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum()) * 20000
    assert chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-4


@pytest.mark.parametrize("size", [1, 5, 256, 257, 1000])
def test_inverse_transform_finds_the_token_that_the_sum_passes(size):
    logits = torch.randn(1, size, generator=torch.Generator().manual_seed(size))
    cumulated = logits.double().softmax(-1).cumsum(-1)[0]
    uniforms = torch.linspace(0, 1 - 1e-9, 4001, dtype=torch.float64)
    found = draw_tokens(logits.expand(4001, -1), uniforms, 1.0)
    expected = torch.searchsorted(cumulated, uniforms * cumulated[-1], right=True).clamp(max=size - 1)
    # Where u is within rounding of a step, either side of it is right.
    near = (uniforms[:, None] - cumulated[None]).abs().min(dim=1).values < 1e-6
    assert torch.equal(found[~near], expected[~near])
    assert (found[near] - expected[near]).abs().max() <= 1 if near.any() else True


def test_impossible_tokens_are_never_drawn():
    logits = torch.full((3, 700), float("-inf"))
    logits[:, 300] = 0.0
    uniforms = torch.tensor([0.0, 0.5, 1 - 1e-16], dtype=torch.float64)
    assert draw_tokens(logits, uniforms, 1.0).tolist() == [300] * 3


def test_min_p_1_keeps_the_most_likely_token_alone(backbone):
    likeliest = draw_completions(backbone, ids(backbone), [[1]] * 3, Decoding(6, 0.0))
    assert draw_completions(backbone, ids(backbone), [[1]] * 3, Decoding(6, min_p=1.0)) == likeliest
    assert draw_completions(backbone, ids(backbone), [[1]] * 3, Decoding(6)) != likeliest


@pytest.mark.parametrize("temperature", [1e-8, 1e-38, 1e-310])
def test_the_coldest_temperatures_take_the_most_likely_token(backbone, temperature):
    likeliest = draw_completions(backbone, ids(backbone), [[1]] * 3, Decoding(4, 0.0))
    assert draw_completions(backbone, ids(backbone), [[1]] * 3, Decoding(4, temperature)) == likeliest


@pytest.mark.parametrize("budget", [20, 60, 16384])
def test_a_sample_depends_on_prompt_and_seed_alone(backbone, budget):
    seeds = [[1, 2, 3], [4], [5, 6]]
    together = draw_completions(backbone, ids(backbone), seeds, Decoding(10, 1.0), token_budget=budget)
    alone = [
        [draw_completions(backbone, [prompt], [[seed]], Decoding(10, 1.0))[0][0] for seed in own]
        for prompt, own in zip(ids(backbone), seeds, strict=True)
    ]
    assert together == alone
    assert len({text for texts in together for text in texts}) > 3


def test_each_prompt_is_read_once(backbone, monkeypatch):
    rows = []
    run = generation.run_layout

    def counting(model, layout, position_ids, **inputs):
        rows.append(position_ids.shape[1])
        return run(model, layout, position_ids, **inputs)

    for module in generation, drawing:
        monkeypatch.setattr(module, "run_layout", counting)
    prompts = ids(backbone)
    draw_completions(backbone, prompts, [list(range(8))] * 3, Decoding(3, 1.0))
    assert rows[0] == sum(len(prompt) for prompt, _ in prompts)
    assert rows[1:] == [24, 24]


def test_nothing_follows_the_end_of_text(backbone, monkeypatch):
    end = backbone.tokenizer.eos_token_id
    script = iter([[97, end], [98], [end]])
    monkeypatch.setattr(drawing, "draw_tokens", lambda *arguments: torch.tensor(next(script)))
    found = draw_completions(backbone, ids(backbone)[:1], [[0, 1]], Decoding(3, 1.0))
    a, b = (backbone.tokenizer.decode([token]) for token in (97, 98))
    assert found == [[a + b, ""]]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "gemma2", "mamba", "llama dynamic"])
def test_samples_that_have_ended_leave_and_change_no_other(kind, monkeypatch):
    backbone = make_backbone(make(kind), make_tiny_tokenizer(), kind)
    # A tenth of the tokens end a sample, so that samples end at all times.
    monkeypatch.setattr(generation, "stop_ids", lambda _: list(range(0, 259, 10)))
    widths = []
    for rows in (drawing.SharedPrompts, drawing.Sequences):

        def watched(self, tokens, step, after=rows.after):
            widths.append(len(tokens))
            return after(self, tokens, step)

        monkeypatch.setattr(rows, "after", watched)
    seeds = [list(range(12 * i, 12 * i + 12)) for i in range(3)]
    prompts = [PromptIds(list(range(20 + i, 30 + i))) for i in range(3)]
    together = draw_ids(backbone, prompts, seeds, Decoding(24))
    assert widths[0] == 36
    assert widths == sorted(widths, reverse=True)
    steps = sum(max(map(len, own)) for own in together)
    assert sum(widths) < 0.8 * 36 * steps / 3
    lengths = {len(row) for own in together for row in own}
    assert min(lengths) == 1
    assert max(lengths) > 12
    for prompt, own, found in zip(prompts, seeds, together, strict=True):
        for seed, row in zip(own, found, strict=True):
            assert draw_ids(backbone, [prompt], [[seed]], Decoding(24)) == [[row]]


def test_samples_end_with_the_token_that_completes_a_stop_text(backbone):
    seeds = [list(range(10))] * 3
    free = draw_completions(backbone, ids(backbone), seeds, Decoding(30))
    stop = ("e", "5", "*")
    decoding = Decoding(30, stop=stop)
    cut = draw_completions(backbone, ids(backbone), seeds, decoding)
    assert cut == [[decoding.cut(text) for text in own] for own in free]
    assert cut != free
    for own in draw_ids(backbone, ids(backbone), seeds, decoding):
        for row in own:
            before, whole = (
                backbone.tokenizer.decode(part, skip_special_tokens=True) for part in (row[:-1], row)
            )
            assert not any(text in before for text in stop)
            assert (
                len(row) == 30 or row[-1] == backbone.tokenizer.eos_token_id or any(s in whole for s in stop)
            )


def test_the_end_of_a_prompt_too_long_is_kept(backbone):
    limit = context_length(backbone.model)
    long = [1, *range(20, 20 + limit)]
    fitted, cut = fit_prompts([PromptIds(long, 1), PromptIds([5])], limit, 10)
    assert cut == 1
    assert fitted[0] == [1, *long[len(long) - (limit - 11) :]]
    assert fitted[1] == [5]


def test_what_cannot_be_drawn_is_told(backbone):
    with pytest.raises(InputError, match="no token"):
        draw_completions(backbone, [PromptIds([])], [[1]], Decoding(3))
    with pytest.raises(InputError, match="max_new_tokens"):
        draw_completions(backbone, [PromptIds([1, 2])], [[1]], Decoding(context_length(backbone.model)))
    with pytest.raises(InputError, match="expected one seed"):
        row_seeds(["a"], [1, 2])


def test_gradients_are_not_kept(backbone):
    draw_completions(backbone, ids(backbone)[:1], [[0]], Decoding(2))
    assert all(parameter.grad is None for parameter in backbone.model.parameters())
