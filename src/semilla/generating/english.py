"""Common English words, as they stand on signs, shop fronts, labels and screens. Written for this package."""

from __future__ import annotations

from semilla.generating.draws import listed

WORDS = listed(
    "the of and to in is for on with at by from up about into over after sale open closed push pull exit entry enter "
    "stop slow go wait walk way one two three four five six seven eight nine ten first second last next new old big "
    "small hot cold fresh free best good great super fast food coffee tea water milk juice beer wine bar grill cafe "
    "pizza burger chicken fish rice noodle bread cake bakery kitchen restaurant hotel motel inn room house home "
    "garden park street road avenue lane drive place square court bridge station airport bus train taxi car bike "
    "parking garage gas oil service repair auto tire wash rent sell buy shop store market mall center plaza outlet "
    "discount price dollar cents bank credit cash card money gold silver diamond jewelry watch clock time today "
    "tomorrow week month year monday tuesday wednesday thursday friday saturday sunday january february march april "
    "june july august september october november december morning night day summer winter spring autumn sun moon star "
    "sky sea beach island river lake mountain forest city town village country world north south east west left right "
    "top bottom front back inside outside door window floor wall roof stairs lift elevator level office building "
    "tower school college university library museum theatre cinema music art dance show live radio video photo print "
    "copy book paper news press magazine journal post mail letter phone mobile call email internet online digital "
    "computer software data system network power energy light electric security police fire emergency hospital clinic "
    "doctor dental health care pharmacy drug medicine beauty hair salon nail spa massage fitness gym sport club "
    "football baseball tennis golf swim race team game play toy kids baby child women men ladies gentlemen family "
    "mother father brother sister friend king queen prince lion tiger eagle bear horse dog cat bird apple orange "
    "lemon banana cherry grape strawberry chocolate vanilla cream sugar salt pepper spice red blue green yellow black "
    "white pink purple brown grey royal crown imperial union national international global united states american "
    "british german french italian chinese japanese mexican indian thai korean vietnam london paris york angeles "
    "chicago boston washington texas california florida warning danger caution keep off out do not no smoking private "
    "property notice please thank you welcome hello goodbye love peace hope dream life happy birthday christmas "
    "holiday special offer limited edition quality premium classic original natural organic pure clean soft strong "
    "extra ultra plus max mini pro express company group limited corporation partners brothers sons design studio "
    "fashion style shoes dress shirt jeans leather bag hat glass optical vision insurance finance law attorney real "
    "estate construction steel wood paint hardware tools machine factory industry product made since ready help info "
    "guide map tour travel trip ticket gate flight visitor reception manager staff only toilet restroom zone area "
    "line point start finish speed limit miles height weight size large medium number total change high low under "
    "between through without every each quick jump lazy fox vex quiz jazz zero zoo box wax fix mix tax quartz vivid "
    "volume zebra oxygen quarter require unique adjust junior object subject"
)
