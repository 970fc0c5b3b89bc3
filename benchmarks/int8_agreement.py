"""How much int8 changes a model's logits and the order of documents, compared with float32.

    ksdk-rerank export MODEL FOLDER
    python benchmarks/int8_agreement.py FOLDER [--data COLLECTIONS]

Both models in `FOLDER` score the same pairs with onnxruntime. The English documents are sections of
`examples/knowledge_base`; documents in other scripts combine the sentences below. With `--data`, the folder that
`quality.py` describes, BM25's 20 best candidates for 20 queries of each English collection follow. Kendall's tau is
computed over each query's documents: 1 is the same order, -1 the reverse.
"""

# ruff: noqa: RUF001 - other scripts are the point

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from quality import read
from workload import ROOT, kendall, machine

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.engines.hardware import int8_kind

DOCUMENTS = 40
QUERIES, CANDIDATES = 20, 20
Candidates = dict[str, list[tuple[str, list[str]]]]
"""By name, queries with their documents."""
ENGLISH = (
    "how do I rotate an API key",
    "why was my payment declined",
    "delete a project for good",
    "how long are events kept",
    "who may invite new members",
    "mask credit card numbers before they are sent",
    "alert when no data arrives",
    "what does status 429 mean",
    "move a project to Frankfurt",
    "export query results as CSV",
)
OTHERS = {
    "Cyrillic": (
        ("как сменить ключ доступа", "как долго хранятся данные", "кто может удалить проект"),
        (
            "Чтобы сменить ключ доступа, создайте новый ключ и отзовите старый.",
            "Данные хранятся тридцать дней, если тариф не говорит иначе.",
            "Удалить проект может только его владелец.",
            "Счёт приходит по почте в первый день месяца.",
            "Оповещение срабатывает, когда данных нет десять минут.",
            "Чтобы пригласить коллегу, введите адрес его почты.",
        ),
    ),
    "Greek": (
        ("πώς αλλάζω το κλειδί", "πόσο καιρό μένουν τα δεδομένα", "ποιος σβήνει ένα έργο"),
        (
            "Για να αλλάξετε το κλειδί, φτιάξτε ένα νέο και ακυρώστε το παλιό.",
            "Τα δεδομένα μένουν τριάντα ημέρες.",
            "Μόνο ο ιδιοκτήτης σβήνει ένα έργο.",
            "Ο λογαριασμός έρχεται την πρώτη του μήνα.",
            "Η ειδοποίηση στέλνεται όταν λείπουν δεδομένα.",
            "Γράψτε τη διεύθυνση του συναδέλφου για να τον καλέσετε.",
        ),
    ),
    "Chinese": (
        ("怎样更换访问密钥", "数据保存多长时间", "谁可以删除项目"),
        (
            "更换访问密钥时,先创建新的密钥,再撤销旧的。",
            "数据保存三十天,除非套餐另有规定。",
            "只有所有者可以删除项目。",
            "账单在每月的第一天通过邮件发送。",
            "十分钟没有数据时会发出警报。",
            "要邀请同事,请输入他的邮箱地址。",
        ),
    ),
    "Japanese": (
        ("アクセスキーを交換する方法", "データはどのくらい保存されますか", "プロジェクトを削除できる人"),
        (
            "アクセスキーを交換するには、新しいキーを作り、古いキーを無効にします。",
            "データは三十日間保存されます。",
            "プロジェクトを削除できるのは所有者だけです。",
            "請求書は毎月一日にメールで届きます。",
            "十分間データがないと通知が送られます。",
            "同僚を招待するには、メールアドレスを入力します。",
        ),
    ),
    "Arabic": (
        ("كيف أغير مفتاح الوصول", "كم من الوقت تحفظ البيانات", "من يستطيع حذف المشروع"),
        (
            "لتغيير مفتاح الوصول أنشئ مفتاحا جديدا ثم ألغ المفتاح القديم.",
            "تحفظ البيانات ثلاثين يوما.",
            "المالك وحده يستطيع حذف المشروع.",
            "تصل الفاتورة في أول يوم من الشهر.",
            "يرسل التنبيه عندما لا تصل البيانات.",
            "لدعوة زميل اكتب عنوان بريده.",
        ),
    ),
    "Devanagari": (
        ("कुंजी कैसे बदलें", "डेटा कितने दिन रहता है", "परियोजना कौन हटा सकता है"),
        (
            "कुंजी बदलने के लिए नई कुंजी बनाएँ और पुरानी को रद्द करें।",
            "डेटा तीस दिन तक रहता है।",
            "केवल मालिक परियोजना हटा सकता है।",
            "बिल महीने के पहले दिन आता है।",
            "जब डेटा नहीं आता तब सूचना भेजी जाती है।",
            "साथी को बुलाने के लिए उसका पता लिखें।",
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder with both models")
    parser.add_argument("--data", type=Path, metavar="COLLECTIONS", help="the unpacked collections")
    options = parser.parse_args()
    exact = CrossEncoderReranker(options.folder, backend="onnx", dtype="float32")
    int8 = CrossEncoderReranker(options.folder, backend="onnx", dtype="int8")
    print(f"{date.today()}, {machine()}, int8 as for {int8_kind()!r}")
    print(f"{'':12} {'pairs':>5} {'logits':>14} {'max |diff|':>10} {'mean':>5} {'tau, worst':>10} {'mean':>5}")
    both = scripts() | (judged(options.data) if options.data else {})
    for name, candidates in both.items():
        expected = [exact.score(query, documents).raw for query, documents in candidates]
        got = [int8.score(query, documents).raw for query, documents in candidates]
        taus = [kendall(a, b) for a, b in zip(expected, got, strict=True)]
        logits = np.concatenate(expected)
        moved = np.abs(np.concatenate(got) - logits)
        print(
            f"{name:12} {moved.size:5} {logits.min():6.2f} to{logits.max():5.2f} {moved.max():10.2f}"
            f" {moved.mean():5.2f} {min(taus):10.3f} {np.mean(taus):5.3f}"
        )


def scripts() -> Candidates:
    """Queries and documents in each script."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples" / "knowledge_base").glob("*.md"))]
    sections = [section.strip() for text in texts for section in text.split("\n## ")[1:]]
    english = sections[:: max(1, len(sections) // DOCUMENTS)][:DOCUMENTS]
    others = {
        script: [(query, _combined(sentences)) for query in queries] for script, (queries, sentences) in OTHERS.items()
    }
    return {"English": [(query, english) for query in ENGLISH], **others}


def judged(data: Path) -> Candidates:
    """Queries and candidates of the collections that people judged."""
    found = {}
    for name in ("trec-dl-2019", "squad-dev", "scifact", "cranfield"):
        if (data / name).is_dir():
            collection = read(data / name, QUERIES, CANDIDATES)
            found[name] = [
                (collection.queries[query], [hit.text for hit in hits]) for query, hits in collection.candidates.items()
            ]
    return found


def _combined(sentences: Sequence[str]) -> list[str]:
    """Each sentence alone, and each pair of sentences in both orders."""
    pairs = [f"{first} {second}" for first in sentences for second in sentences if first != second]
    return [*sentences, *pairs]


if __name__ == "__main__":
    main()
