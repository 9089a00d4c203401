"""Texts that tokenizers differ on: scripts, spaces, digits, marks, controls, code, and special tokens in the middle."""
from __future__ import annotations

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "How many red circles are there, and where is the small blue square?",
    "It's what you'd expect; they'll say we've DONE it, I'M sure. Don't 'quote' me!",
    "Zwei große Kreise stehen über fünf kleinen Dreiecken – schön, nicht wahr?",
    "L’élève a déjà mangé où ça ? « Peut-être », répondit-il à l'hôtel.",
    "¿Cuántos triángulos amarillos ves en la imagen? ¡Ninguno!",
    "Сколько кругов на картинке? Восемнадцать, ёлки-палки.",
    "图片里有几个红色的圆形？一共有三个，左边的比右边的大。",
    "画像には大きな星が二つあります。カタカナもひらがなも。",
    "그림에 파란 사각형이 몇 개 있습니까?",
    "كم عدد الدوائر الحمراء في الصورة؟ ثلاثة.",
    "כמה עיגולים יש בתמונה?",
    "चित्र में कितने लाल वृत्त हैं? क्षेत्र, ज्ञान।",
    "ภาพนี้มีวงกลมสีแดงกี่วง",
    "Πόσοι κόκκινοι κύκλοι υπάρχουν; Ἀρχή.",
    "Hãy mô tả bức tranh này bằng tiếng Việt.",
    "def area(r: float) -> float:\n    \"\"\"Area.\"\"\"\n    return 3.14159 * r ** 2  # r²\n",
    "{\"count\": 3, \"boxes\": [[10, 20, 300, 400]], \"ok\": true}",
    "https://example.org/a_b-c?d=%20e&f=1#g  <a href='x'>y</a>",
    "1 12 123 1234 12345 3.14 1,000,000 0x1F 1e-9 ½ ² ٣ १२ Ⅷ",
]

EDGE = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", " a", "a ", "  a  b   c  ", "a\nb", "a\n\nb", "a \n b", "\n\n\n", " \n \n",
    "tab\tand\ttabs\t\t", "trailing space ", "\u00a0nbsp\u00a0", "\u3000全角\u3000", "a\u200bb\u200dc", "\ufeffbom",
    "e\u0301 vs \u00e9", "\u1e9b\u0323", "\u0041\u030a \u212b", "\u1100\u1161\u11a8", "ﬁ ligature", "ＦＵＬＬ", "İstanbul ıI",
    "👍", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "a👍b", "❤️", "☃", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𠜎𠜱", "\U0001f9ff\U0001faf6", "\x00", "a\x00b", "\x1b[31m", "\x7f\x80\x85\u2028\u2029",
    "...", "!!!???", "—–-", "“curly” ‘quotes’", "a.b.c", "a_b_c", "CamelCaseWord", "ALLCAPS", "x=y+z;", "$5 €6 £7 ¥8", "100%", "#tag @user",
    "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'LL", "can't won't O'Neill's", "12:34:56", "[[100, 20, 3, 1000]]", "supercalifragilisticexpialidocious",
    "a" * 60, "ab" * 40, "1" * 23, " " * 17, "\n" * 9, "x" + " " * 5 + "y", "你好" * 12, "é" * 9, "▁under▁score", "Ġspace Ċ newline", "<0x41> <0xE4>", "\ufffd",
]

SPECIAL = [
    "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<img><IMG_CONTEXT><IMG_CONTEXT></img>\nWhat is this?", " <img> spaced </img> ", "a<IMG_CONTEXT>b", "<IMG_CONTEXT", "<|im_end|><|im_end|>",
    "<ref>red circle</ref><box>[[100, 20, 300, 1000], [0, 0, 10, 10]]</box>", "x <box> y </box> z", "<|endoftext|>", "<s> </s> <unk>", "s</s>s",
    "<|im_startx|>", "<|IM_END|>", "<ref> </ref>", "<box></box>",
]


def mixed() -> list[str]:
    """Neighbours of different kinds in one text."""
    joined = []
    for i, sentence in enumerate(SENTENCES):
        edge = EDGE[(7 * i + 3) % len(EDGE)]
        special = SPECIAL[(5 * i + 1) % len(SPECIAL)]
        joined += [f"{sentence} {edge}{special}", f"{edge}\n{sentence}", f"{special}{sentence}{edge}"]
    return joined


def corpus() -> list[str]:
    return [*SENTENCES, *EDGE, *SPECIAL, *mixed()]
