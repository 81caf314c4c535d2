"""Words that are not a theme by themselves."""

_ENGLISH = """
a about above after again all also although always am an and any are as at be because been before being below between
both but by can can't cannot could couldn't did didn't do does doesn't doing don't done during each else etc even ever
every few for from get gets getting give gives go goes going got had has hasn't have haven't having he her here hers him
his how however i i'd i'll i'm i've if in instead into is isn't it it's its itself just let like little lot many may me
might more most mostly much must my never nor nothing now of on once one ones only or other others our
over own please pretty quite rather really same say says shall she should shouldn't since so some something somehow
somewhat still such take takes than that that's the their them then there there's these they they're thing things this
those though through thus to under until upon us use used uses using very was wasn't way we well were weren't what when
where whether which while who whole whom whose why will with within without won't would wouldn't yes yet you your yours
n/a na two three four five first second third last half another anyone anything anywhere everything nobody none back
actually already almost apart around away basically both completely entirely especially enough far fully hardly maybe
perhaps probably simply sometimes totally
"""
_GERMAN = """
aber alle als also am an auch auf aus bei bin bis da dann das dass dem den der des die dies diese dieser dieses doch
dort du durch ein eine einem einen einer eines er es etwas fur für hat haben hier ich ihr im in ist ja kann kein keine
man mehr mit muss nach nicht noch nur ob oder ohne schon sehr sein sich sie sind so uber über um und uns viel vom von
vor war waren was weil wenn wer wie wird wir wurde zu zum zur
"""
_ROMANCE = """
au aux avec ce ces cette dans de des du elle en est et il ils je la le les leur lui mais même ne nous on ou par pas plus
pour qu que qui sa se ses son sur tout très un une vous al como con cuando del el ella ellos entre era es esta este esto
fue ha hay la las lo los más me mi muy no nos o para pero por porque qué se ser si sin sobre su sus también tiene todo
una uno y ya ao aos as até com da das do dos e é ela ele em foi isso já mais mas na não nas no nos os ou pela pelo que
são sem seu sua também tem um uma che chi ci di gli ha ho il io lei ma nel non per più sono sua suo ti tra tu un
"""
STOP_WORDS = frozenset(f"{_ENGLISH} {_GERMAN} {_ROMANCE}".split())

WEAK_WORDS = frozenset(
    """
    answer response output reply result model bot assistant agent ai llm system chatbot question request query user
    customer client person human people asker prompt message text content sentence paragraph word line part point case
    item example comment note information info claim fact detail statement
    good great nice fine perfect excellent ok okay bad poor terrible awful weak better best worse worst wrong incorrect
    correct right true false accurate inaccurate error mistake issue problem fail missing miss lack need want add
    ask tell mention state write read look feel seem sound think know see find show explain provide include contain make
    mean change fix work help offer give come keep put call try start end
    new old different important main clear exact full short small big much less number day time year
    too up off out not no
    """.split()  # noqa: SIM905
)
"""Frequent in comments on answers: not a theme alone, but part of one (`wrong unit`, `too long`, `made up`)."""
PARTICLES = frozenset({"up", "out", "off"})
"""A weak word followed by one of these is a theme: `made up`, `left out`."""
