#!/usr/bin/env python3
"""Writes data/wordpiece.json: what Hugging Face's tokeniser of BERT makes of texts of many kinds, for
lab/data/parts/wordpiece_test.cc.

usage: make_wordpiece.py     needs transformers

`vocabulary` is the vocabulary, small and made here. Each case has a text and, with and without lower case, its words
("lower_words", "words") and the numbers of its tokens ("lower", "tokens"). `pairs` are two texts that are cut to
`context` tokens, longest first, with tokens and types: where both are as long, the package's fast tokenisers cut
otherwise than BERT's own code, and no case has that.
"""

import json
import pathlib
import random
import tempfile
import unicodedata

import transformers

FILE = pathlib.Path(__file__).parent / "data/wordpiece.json"
PIECES = """the un want aff able run ##want ##ed ##able ##ing ##s , . ! ? ' " ( ) - _ [ ] a b c d e f g h i j k l m n
o p q r s t u v w x y z ##a ##b ##c ##d ##e ##f ##g ##h ##i ##j ##k ##l ##m ##n ##o ##p ##q ##r ##s ##t ##u ##v ##w
##x ##y ##z A B T ##A ##B é ##é ß ##ß 北 京 中 ğ ##ğ ı ##ı ο δ σ ς ##ο ##δ ##σ ##ς д ##а 한 ᄒ ##ᅡ ##ᆫ が か ##き 😀
##😀 । ¿ “ ” — … 1 2 3 ##1 ##2 ##3 İ Ä ##Ä ö ##ö $ € ° ﬁ ##ﬁ ا ##ل""".split()
TEXTS = """The unwanted, unaffable running's!
 \tspaces\u00a0and\u2003others\u3000of many\u2028kinds\u2029and\u0085ends\r
Crème Brûlée à la façon d'Élodie, naïve coöperation; Ångström ÄÖÜ ẞß
ISTANBUL İstanbul ıI DİYARBAKIR ΟΔΟΣ ὈΔΥΣΣΕΎΣ ǅ ﬁne ﬁnger
北京的天气很好, 東京タワー、カタカナ ひらがな が が 한국어 \uac00\u1112\u1161\u11ab 豈 丽 \U00020001 \U0002b740
emoji 😀😃 👨‍👩‍👧 👍🏽 ❤️ ☃ flags 🇩🇪 new \U0001fae8 \U0001f979
zero\u200bwidth\u200djoin\ufeffbom soft\u00adhyphen rtl\u202eoverride \u0000nul \ufffdreplaced bell\u0007 del\u007f
private \ue000 \U000f0000 here; noncharacter \ufdd0 unassigned \u0378 \U000e0100 tag
Hindi हिन्दी में लिखा। Tamil தமிழ் Thai ภาษาไทย Hebrew עִבְרִית Arabic اَلْعَرَبِيَّةُ العربية Khmer ខ្មែរ
punctuation: $1.50 + 2 = 3 < 4 ^ | ~ `x` a_b a-b “quoted” ‘single’ —dash… ¿qué? ¡no! «guillemets» ·middle· 。、「」 § ¶ † ‡ ※ € £ ° ± × ÷
a\u0301b\u0323\u0307c\u20ddd \u0301alone ạ̈ ṩ \u1e69 e\u0328\u0301 Å\u212b Ω\u2126 K\u212a ;\u037e `\u1fef
x² y₃ ½ Ⅻ ⓐ ＡＢＣ ｆｕｌｌ １２３ ㎏ № ™ ℃
Дa дА Привет, мир! Ёлка йод ЇЖАК Ա ա Ⴀ ა Ა Ꭰ ꭰ 𐐀 𐐨
[CLS is no token] [ SEP ] ##ing a##b
tags <b>bold</b> &amp; http://a.b/c?d=e#f me@x.org \\n C++ #1 100% it's o'clock don't
""".split("\n")


def random_texts(count):
    """Characters drawn from all of the planes, of which every version of Unicode since 3.2 says the same."""
    draw = random.Random(1)
    old = unicodedata.ucd_3_2_0
    points = [p for p in range(1, 0x30000) if old.category(chr(p)) not in ("Cn", "Cs", "Co") and
              old.category(chr(p)) == unicodedata.category(chr(p))]
    near = [p for p in points if p < 0x3000]
    for _ in range(count):
        yield "".join(chr(draw.choice(near if draw.random() < 0.7 else points))
                      if draw.random() < 0.6 else draw.choice("abcdefghijklm   ,.")
                      for _ in range(draw.randint(1, 60)))


def words(tokenizer, text):
    backend = tokenizer.backend_tokenizer
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]


def main():
    vocabulary = list(dict.fromkeys(["[PAD]", "[CLS]", "[UNK]", "[SEP]", *PIECES]))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vocab.txt"
        path.write_text("\n".join(vocabulary) + "\n")
        lower, cased = (transformers.BertTokenizer(vocab=str(path), do_lower_case=low) for low in (True, False))
    texts = [*TEXTS, "a" * 100, "a" * 101, "é" * 100, "unwanted" * 13, "a" * 99 + "!" + "b" * 101,
             "x" * 50 + "\u0301" * 60, *random_texts(300)]
    cases = [{"text": text, "lower_words": words(lower, text), "words": words(cased, text),
              "lower": lower.encode(text, add_special_tokens=False),
              "tokens": cased.encode(text, add_special_tokens=False)} for text in texts]
    pairs = []
    for first, second, context in (("a b c d e f g", "h i", 8), ("a b", "c d e f g h i j k", 9),
                                   ("a b c d e f", "g h i j k l", 11), ("a b c", "d e f", 12),
                                   ("a b c d e f g h i", None, 8), ("a", None, 8)):
        encoded = lower(first, second, truncation=True, max_length=context, padding="max_length")
        pairs.append({"first": first, "second": second, "context": context,
                      "tokens": encoded["input_ids"], "types": encoded["token_type_ids"],
                      "mask": encoded["attention_mask"]})
    lines = ",\n".join(json.dumps(case) for case in cases)
    pair_lines = ",\n".join(json.dumps(pair) for pair in pairs)
    FILE.write_text(f'{{"oracle": "transformers {transformers.__version__} BertTokenizer",\n'
                    f'"vocabulary": {json.dumps(vocabulary)},\n"pairs": [\n{pair_lines}\n],\n'
                    f'"cases": [\n{lines}\n]}}\n')


main()
