"""Prompts of policies as token ids, whatever engine decodes them."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from pluralign.core.message_fields import normal_message
from pluralign.core.messages import Conversation, Messages, Template, arguments_of
from pluralign.lm.prompts import TEMPLATES, prompt_ids


class PromptEncoder:
    """What a server knows of its policies: their names, and how prompts become token ids."""

    name: str
    """Name of the model."""
    objectives: tuple[str, ...]
    """Names of the policies, in display order."""
    template: str
    """Template of conversations (`lm.prompts.TEMPLATES`)."""
    power: float
    """Exponent of the power mean that mixes the policies."""
    control_tokens: bool
    """Whether prompts that are texts may contain control tokens by name."""

    tokenizer: PreTrainedTokenizerBase
    """The tokenizer, for use by one thread."""
    context: int | None
    """Largest number of tokens of prompt and answer together; None if the model does not specify it."""
    shared: bool
    """Whether all policies are adapters on one trunk."""

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that always end an answer in a conversation, in addition to those of the request."""
        return self.conversations.stops

    @property
    def conversations(self) -> Template:
        """The template of conversations, with this model's control tokens."""
        return TEMPLATES[self.template](self.tokenizer, self.control_tokens)

    def chat_ids(self, messages: Messages) -> list[int]:
        """Token ids of a conversation up to the start of the answer.

        Raises:
            InputError: A message lacks a role or a content, or the template refuses the messages.
        """
        known = [normal_message(message, number) for number, message in enumerate(messages, start=1)]
        text = self.conversations(Conversation(known, arguments_of(messages)), True)
        return prompt_ids(self.tokenizer, text).ids

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text that is continued as it stands.

        Raises:
            InputError: The text has a lone surrogate.
        """
        return prompt_ids(self.tokenizer, self.conversations.quote_prompt(text)).ids
