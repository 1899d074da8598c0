"""The trade-off in words."""

from pluralign.core import SteeringWeights
from pluralign.steer.prompting import trade_off_instruction, with_instruction


def test_weights_are_told_in_the_order_of_the_objectives():
    weights = SteeringWeights(harmless=0.3, very_helpful=0.7)
    told = trade_off_instruction(weights, ["very_helpful", "harmless"], {"harmless": "does no damage"})
    assert told.startswith(
        "These values count in your answer: very helpful 70 %, harmless (does no damage) 30 %. "
    )
    alone = trade_off_instruction(SteeringWeights(a=1.0), ["a", "b"], {})
    assert "a 100 %, b 0 %." in alone


def test_the_instruction_stands_first():
    text = "\n\nHuman: hi\n\nAssistant:"
    assert with_instruction(text, "Mind this.") == "Mind this.\n\nHuman: hi\n\nAssistant:"
    chat = [{"role": "user", "content": "hi"}]
    assert with_instruction(chat, "Mind this.") == [{"role": "system", "content": "Mind this."}, *chat]
