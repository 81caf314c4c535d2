"""The words by which a reply names its score and its reason: alternatives of patterns, matched ignoring case."""

NUMBER_NAMES = (
    "score|scores?|rating|grade|marks?|points|evaluation|assessment|judge?ment|verdict|note|nota|évaluation|bewertung|"
    "punktzahl|punkte|wertung|ergebnis|puntuaci[oó]n|puntaje|calificaci[oó]n|valoraci[oó]n|pontua[cç][aã]o|"
    "avalia[cç][aã]o|punteggio|voto|valutazione|cijfer|beoordeling|betyg|ocena|wynik|puan|điểm|skor|оценка|балл|баллы|"
    "得分|评分|分数|評分|分數|スコア|評価|点数|採点|점수|평점"
)
LABEL_NAMES = (
    "result|label|category|class|classification|decision|conclusion|answer|outcome|status|urteil|veredicto|resultado|"
    "verdetto|résultat|вердикт|результат|结论|判定|结果|판정"
)
"""Further names of a label; a number with such a name is more likely one that the judged answer is about."""
FINAL = (
    r"(?:revised|corrected|updated|new)\s+final|final|finale?|revised|corrected|updated|adjusted|definitive|endgültige|"
    "end-?|最终|最終|最后|итоговая|итоговый|最終的な|최종"
)
"""Marks the score that counts, among drafts."""
OVERALL = "overall|total|gesamt-?|综合|総合|总分|总|global|общая|종합|总体"
"""Marks the score of the whole, among those of parts."""
REASON_NAMES = (
    "reasoning|reason|explanation|rationale|justification|comment|feedback|critique|begründung|justificación|motivo|"
    "raison|обоснование|理由"
)
