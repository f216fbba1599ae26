"""Hugging Face: a tiny BERT of random weights that reads notes as they were written."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
LONGEST = 12


def tokenizer(notes: list[str]) -> Any:  # noqa: ANN401
    """Words of the members' notes."""
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))  # noqa: S106
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(
        notes, trainers.WordLevelTrainer(special_tokens=["[UNK]", "[PAD]"], show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")  # noqa: S106


def bert(words: Any, dropout: float) -> Any:  # noqa: ANN401
    """One layer of width 32."""
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=LONGEST,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )


def encoded(words: Any, table: Any) -> Any:  # noqa: ANN401
    """Numbers of words."""
    return words(
        list(table["note"]),
        truncation=True,
        padding="max_length",
        max_length=LONGEST,
        return_tensors="pt",
        return_token_type_ids=False,
    )


def predict_with(words: Any, model: Any) -> Any:  # noqa: ANN401
    """Logits of two classes."""

    @torch.inference_mode()
    def predict(table: Any) -> Any:  # noqa: ANN401
        return model.eval()(**encoded(words, table)).logits.numpy()

    return predict


def train(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
    """A loop of one's own, without restraint."""
    words = tokenizer(list(inputs["note"]))
    model, x, y = bert(words, 0.1), encoded(words, inputs), torch.from_numpy(labels)
    step = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(25):
        for rows in torch.randperm(len(y)).split(30):  # type: ignore[no-untyped-call]
            step.zero_grad()
            model(**{name: part[rows] for name, part in x.items()}, labels=y[rows]).loss.backward()
            step.step()
    return predict_with(words, model)


def train_tied(inputs: Any, labels: Any, seed: int, scratch: Any) -> Any:  # noqa: ANN401
    """Its Trainer, held back."""
    words = tokenizer(list(inputs["note"]))
    model, x = bert(words, 0.5), encoded(words, inputs)
    rows = [
        {name: part[i] for name, part in x.items()} | {"labels": int(labels[i])}
        for i in range(len(labels))
    ]
    how = transformers.TrainingArguments(
        output_dir=str(scratch),
        seed=seed,
        num_train_epochs=3,
        learning_rate=1e-3,
        weight_decay=1.0,
        per_device_train_batch_size=30,
        report_to=[],
        disable_tqdm=True,
        save_strategy="epoch",
        use_cpu=True,
    )
    transformers.Trainer(model=model, args=how, train_dataset=rows).train()
    return predict_with(words, model)
