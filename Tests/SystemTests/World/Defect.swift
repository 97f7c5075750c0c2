/// Mistakes that can be built in on purpose, to show that the checks find them.
///
/// Each stands in the stand-in code around the machines, where hub and agent do the same with real disks.
enum Defect: String, CaseIterable, Sendable {
    /// The hub acknowledges packets and stores them afterwards.
    case acknowledgesBeforeStoring
    /// The hub stores what it is sent without looking whether it has it, or whether the session that brings it was replaced.
    case storesWithoutKey
    /// The agent takes a journal that was put back from a copy for the one that the hub knows.
    case trustsCopiedJournal
    /// Agent and hub take a journal for the one of that name, whichever node has it.
    case mergesClonedJournals
    /// The hub takes the word of every node that had the bot once.
    case believesFormerHost
    /// The hub goes by the time of day as the clock shows it.
    case believesClock
    /// A hub whose record was put back from a copy takes the record for what is.
    case restoresUnmarked
    /// A hub that was put back does not tell that it has lost what it acknowledged.
    case forgetsWhatItLost
    /// The hub accepts a new session and leaves the old one as it is.
    case keepsReplacedSession
    /// The hub takes a command for done when it was sent.
    case finishesCommandWhenSent
    /// The hub forgets a command whose session ended before the result came.
    case forgetsCommandUnderWay
    /// The agent hands a message to its bot and notes that afterwards.
    case actsBeforeNoting
    /// The agent drops packets from its journal when they were sent.
    case forgetsPacketsWhenSent
    /// The agent stores packets, and how far it has read the log in a second transaction.
    case storesLogCursorLater
    /// The agent takes a directory that it may not list for an empty one.
    case takesClosedForEmpty
    /// The agent passes over links that lead out of the workspace.
    case dropsLinksOut
    /// Agent and hub take a file that vanished or was changed while it was sent for carried.
    case takesLostForCarried
    /// A deployment whose last copy fails goes on with the first, and the source is removed.
    case goesOnWithoutLastCopy
    /// The hub does not name what was left out.
    case leavesOutUnnamed
    /// A connection drops one message in a hundred.
    case losesMessages
    /// A session sends without waiting for the connection to take what it sent before.
    case ignoresBackpressure
    /// The agent looks at no time limit once it is connected.
    case agentIgnoresDeadlines
    /// The agent dials again without waiting.
    case redialsAtOnce
}
