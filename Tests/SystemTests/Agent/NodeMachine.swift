/// A machine with an agent on it: what stays when the agent is killed.
final class NodeMachine {
    let number: Int
    let id: String
    /// The bots here, those that are stopped as well.
    private(set) var bots: [SimulatedBot]
    private let seed: UInt64
    /// Its bots' workspaces, where any are moved; what a bot was told is in its workspace then.
    private(set) var disk: NodeDisk?
    /// Made from another's disk.
    let isClone: Bool
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
    private var copyCount = 0

    init(number: Int, botCount: Int, seed: UInt64) {
        self.number = number
        self.seed = seed
        isClone = false
        id = "node-\(number)"
        bots = (0..<botCount).map { SimulatedBot(id: "bot-\(number)-\($0)", label: "bot-\(number)-\($0).\(seed)") }
        journal = JournalModel(journalID: "journal-\(number)")
    }

    /// A machine with a copy of another's disk, paired as another node.
    init(number: Int, cloneOf original: NodeMachine, areRunning: Bool) {
        self.number = number
        id = "node-\(number)"
        seed = original.seed
        isClone = true
        bots = original.bots.map { bot in
            let copy = SimulatedBot(id: bot.id, label: "\(bot.label)@\(number)", log: bot.log)
            (copy.epoch, copy.isRunning) = (bot.epoch, bot.isRunning && areRunning)
            if bot.isRemoved { copy.remove() } else { copy.workspace = bot.workspace }
            return copy
        }
        journal = original.journal
        if let disk = original.disk?.copied(as: id) { use(disk) }
    }

    /// Of a policy, and of an agent of before.
    var allowsLinks: Bool { (seed &* 31 &+ UInt64(clamping: number)) % 3 == 0 }
    var takesLinks: Bool { (seed &* 37 &+ UInt64(clamping: number)) % 8 != 0 }

    /// Its bots have workspaces.
    func use(_ disk: NodeDisk) {
        self.disk = disk
        for bot in bots { bot.disk = disk }
    }

    /// A bot that was placed here begins.
    func add(_ bot: String) -> SimulatedBot {
        copyCount += 1
        let new = SimulatedBot(id: bot, label: "\(bot).\(seed)@\(number)-\(copyCount)")
        new.isRunning = false
        new.disk = disk
        bots.append(new)
        return new
    }

    /// The disk is what it was.
    func putBack(_ copy: StateCopy) {
        journal = copy.journal
        if let old = copy.disk { disk?.replace(with: old) }
        bots = copy.bots.map { bot, epoch, isRunning, isRemoved, workspace in
            (bot.epoch, bot.isRunning) = (epoch, isRunning)
            if workspace > 0 || !isRemoved { bot.receive(workspace: workspace) }
            if isRemoved { bot.remove() }
            return bot
        }
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
    fileprivate let disk: NodeDisk?
    fileprivate let bots: [(bot: SimulatedBot, epoch: UInt64, isRunning: Bool, isRemoved: Bool, workspace: Int)]

    init(_ machine: NodeMachine) {
        journal = machine.journal
        disk = machine.disk?.copied(as: "copy-of-\(machine.number)")
        bots = machine.bots.map { ($0, $0.epoch, $0.isRunning, $0.isRemoved, $0.workspace) }
        logLengths = Dictionary(machine.bots.map { ($0.label, $0.log.count) }, uniquingKeysWith: max)
    }
}
