"""Calibration texts: ordinary text, on which an engine that rounds finds the inputs that are out of the ordinary."""

from rerank_core.types import Pair

CALIBRATION_TEXTS = (
    Pair(
        "how do birds stay in the air",
        "Birds fly by beating their wings, which push air down and back. A wing is curved above and flat below, "
        "so that air moving over it lifts the bird. The Wright brothers, who had watched buzzards, flew 36 m in 1903.",
    ),
    Pair(
        "was kostet eine Fahrkarte nach Berlin?",
        "Der Preis hängt von der Uhrzeit, der Strecke und der Klasse ab; Sparpreise beginnen bei 17,90 Euro und sind "
        "nur begrenzt verfügbar. Kinder unter sechs Jahren fahren kostenlos.",
    ),
    Pair("什么是光合作用", "光合作用是植物、藻类和某些细菌利用阳光，把二氧化碳和水转化为有机物并释放氧气的过程。"),
    Pair("ما هي عاصمة المغرب", "الرباط هي عاصمة المملكة المغربية، وتقع على ساحل المحيط الأطلسي."),
    Pair(
        "TypeError: 'NoneType' object is not subscriptable",
        "def first(rows: list[str] | None) -> str:\n    # return rows[0] fails where there are none\n    return "
        "rows[0] if rows else ''\nSee https://example.org/docs?page=2 (section 4.1) for *args, **kwargs & exceptions.",
    ),
    Pair(
        "symptoms of iron deficiency",
        "Fatigue, pale skin, shortness of breath and brittle nails are common. Doctors measure ferritin; values below "
        "15 ng/mL are low (normal: 30-300). Tea and coffee with a meal hinder the uptake of iron, vitamin C helps it.",
    ),
    Pair("¿dónde se habla el guaraní?", "El guaraní es lengua oficial de Paraguay junto con el español."),
    Pair("yes", ""),
)
