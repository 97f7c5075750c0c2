/// A machine with an agent on it: what stays when the agent is killed.
final class NodeMachine {
    let number: Int
    let id: String
    let bots: [SimulatedBot]
    var journal: JournalModel
    var wall = WallClock()
    /// Packets to and from this machine are dropped, and nobody is told.
    var isPartitioned = false
    var agent: AgentProcess?
    /// A second agent with the same identity, which has no bots.
    var twin: AgentProcess?
    private(set) var startCount = 0

    init(number: Int, botCount: Int, seed: UInt64) {
        self.number = number
        id = "node-\(number)"
        bots = (0..<botCount).map { SimulatedBot(id: "bot-\(number)-\($0)", seed: seed &+ UInt64(number * 10 + $0)) }
        journal = JournalModel(journalID: "journal-\(number)")
    }

    func bot(_ id: String) -> SimulatedBot? { bots.first { $0.id == id } }

    /// The name of the next agent process, never used before.
    func nextInstance() -> String {
        startCount += 1
        return "\(id)-instance-\(startCount)"
    }
}
