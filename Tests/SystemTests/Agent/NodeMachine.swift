/// A machine with an agent on it: what stays when the agent is killed.
final class NodeMachine {
    let number: Int
    let id: String
    private(set) var bots: [SimulatedBot]
    var journal: JournalModel
    /// What was copied of the state directory, to be put back.
    var copy: StateCopy?
    var wall = WallClock()
    /// Packets to and from this machine are dropped, and nobody is told.
    var isPartitioned = false
    var agent: AgentProcess?
    /// A second agent with the same identity, which has no bots.
    var twin: AgentProcess?
    private(set) var startCount = 0
    private var journalCount = 0

    init(number: Int, botCount: Int, seed: UInt64) {
        self.number = number
        id = "node-\(number)"
        bots = (0..<botCount).map { SimulatedBot(id: "bot-\(number)-\($0)", label: "bot-\(number)-\($0).\(seed)") }
        journal = JournalModel(journalID: "journal-\(number)")
    }

    /// The name of the next journal, where this one turns out to be a copy.
    func nextJournalName() -> String {
        journalCount += 1
        return "journal-\(number)-\(journalCount)"
    }

    func bot(_ id: String) -> SimulatedBot? { bots.first { $0.id == id } }

    /// The name of the next agent process, never used before.
    func nextInstance() -> String {
        startCount += 1
        return "\(id)-instance-\(startCount)"
    }
}

/// A copy of an agent's state directory.
struct StateCopy {
    let journal: JournalModel
    /// How long the bots' logs were, by label.
    let logLengths: [String: Int]

    init(_ machine: NodeMachine) {
        journal = machine.journal
        logLengths = Dictionary(machine.bots.map { ($0.label, $0.log.count) }, uniquingKeysWith: max)
    }
}
