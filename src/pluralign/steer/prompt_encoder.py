"""Prompts of policies as token ids, whatever engine decodes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.core.message_fields import normal_message
from pluralign.core.messages import Conversation, Messages, Template, arguments_of
from pluralign.lm.prompts import TEMPLATES, encode_after, end_of_turn_ids, prompt_ids


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
    def dtype_name(self) -> str | None:
        """Floating-point type of the weights; None if another process has them."""
        return None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that always end an answer in a conversation, in addition to those of the request."""
        return self.conversations.stops

    @property
    def conversations(self) -> Template:
        """The template of conversations, with this model's control tokens."""
        return TEMPLATES[self.template](self.tokenizer, self.control_tokens)

    def chat_ids(self, messages: Messages, beginning: str = "") -> list[int]:
        """Token ids of a conversation up to the start of the answer.

        Args:
            messages: Conversation.
            beginning: Text with which the answer begins; the ids include it.

        Raises:
            InputError: A message lacks a role or a content, or the template refuses the messages.
        """
        known = [normal_message(message, number) for number, message in enumerate(messages, start=1)]
        template = self.conversations
        text = template(Conversation(known, arguments_of(messages)), True)
        if beginning:
            lead = "" if beginning[0].isspace() else template.lead
            text += lead + template.quote_completion(beginning)
        return prompt_ids(self.tokenizer, text).ids

    def answer_ids(
        self, text: str, before: Sequence[int] = (), *, chat: bool, ended: bool
    ) -> list[int]:  # fmt: skip
        """Token ids of an answer, which follow those of its prompt.

        Args:
            text: Answer, with the template's text before it.
            before: Token ids of its prompt; without them, those of a text that begins.
            chat: Whether the prompt is a conversation.
            ended: Whether the token that ends an answer follows.

        Raises:
            InputError: The tokenizer has no such token.
        """
        eos: Any = self.tokenizer.eos_token_id
        end = ((end_of_turn_ids(self.tokenizer) if chat else []) or [eos])[:1] if ended else []
        if end == [None]:
            raise InputError("the tokenizer has no end-of-text token, with which an answer could end")
        return [*encode_after(self.tokenizer, self.conversations.quote_completion(text), before), *end]

    def known_ids(self, ids: Sequence[int]) -> list[int]:
        """Token ids of a prompt that is given as such.

        Raises:
            InputError: The tokenizer has no such token.
        """
        most = len(self.tokenizer)
        for token in ids:
            if token >= most:
                raise InputError(f"token ids must be below {most}, found {token}")
        return [int(token) for token in ids]

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text that is continued as it stands.

        Raises:
            InputError: The text has a lone surrogate.
        """
        return prompt_ids(self.tokenizer, self.conversations.quote_prompt(text)).ids
