"""The verb `hunt`: a campaign over families of scenarios, searched by Hypothesis in worker processes.

=================  ============================================================================
``search.py``      one batch: Hypothesis draws plans, each is carried out, failures are told apart
``tasks.py``       what a campaign and its workers say to each other
``shrinking.py``   a failure that was found, at its smallest
``worker.py``      the process that works off tasks
``pool.py``        the workers as the campaign sees them: who does what, who died
``campaign.py``    what to do next, what was found, when it is over
``state.py``       the campaign on disk: whatever happens, it goes on from there
``findings.py``    failures shrunk, kept as bundles, and as candidates for regressions
``report.py``      what a campaign came to
``display.py``     live progress
=================  ============================================================================

What a campaign finds hangs on its seed and its budget, never on the number of its workers: a batch is a pure
function of (seed, scenario, number), it knows nothing of other batches, and which failing plan stands for its
signature is decided by number, not by who was first.
"""
