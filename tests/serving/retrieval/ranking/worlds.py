"""Small worlds to rank in."""

from __future__ import annotations

from serving.retrieval.elements import Node, Passage, Relation

SITE = Node("site:harbour", "Site", "Harbour Works", aliases=("HW Nord",))
PUMP = Node("pump:p7", "Pump", "P-7")
OTHER = Node("pump:p8", "Pump", "P-8")
SUPPLIER = Node("supplier:lindqvist", "Supplier", "Lindqvist Hydraulics")
NODES = (SITE, PUMP, OTHER, SUPPLIER)
RELATIONS = (Relation(SUPPLIER.uid, "SUPPLIES", PUMP.uid), Relation(SITE.uid, "HAS", OTHER.uid))
PASSAGES = (
    Passage("c1", "doc:1", "Log of the Harbour", "Pump P-7 was replaced after a leak in the bearing seal. It ran hot."),
    Passage("c2", "doc:2", "Lindqvist Hydraulics (company)", "Lindqvist Hydraulics was founded by Astrid Okonkwo."),
    Passage("c3", "doc:3", "Astrid Okonkwo", "Astrid Okonkwo, an engineer, was born in Lagos and studied in Lund."),
    Passage("c4", "doc:4", "Bearings", "A bearing seal wears when a shaft is out of line; grease helps."),
    Passage("c5", "doc:5", "Valve V12", "Valve V12 closes within two seconds. It was made by Lindqvist Hydraulics."),
    Passage("c6", "doc:6", "정비 기록", "부산공장에서 펌프를 정비했다. 베어링을 교체했다."),
    Passage("c7", "doc:7", "부산공장", "부산공장은 1998년에 세워졌다."),
)  # fmt: skip
EVERYONE: frozenset[str] = frozenset()
