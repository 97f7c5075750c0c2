import Dispatch
import Foundation
import WireFormat

@testable import ControlHub

/// One hub and its nodes on a simulated network, from a seed to a verdict.
final class Simulation {
    struct Options {
        var defects: Set<Defect> = []
        /// Told every line of the trace.
        var onTrace: ((String) -> Void)?
        /// Changes what the seed has brought.
        var adjust: ((inout FaultPlan) -> Void)?
    }

    /// What became of a seed.
    struct Outcome: Sendable {
        let seed: UInt64
        let violation: SafetyChecker.Violation?
        let digest: UInt64
        let events: UInt64
        let simulated: Microseconds
        /// From the end of the faults until everything was settled.
        let settledAfter: Microseconds
        let connections: Int
        let packets: Int
        let commands: Int
        /// Committed, and what they carried.
        let moves: Int
        let entries: Int
        /// Why moves failed, and how often.
        let failures: [String: Int]
    }

    /// A node that was told to come back slowly waits up to 60 s, twice if it finds another fault's remains; the hub
    /// takes up to 45 s to miss a node that went silently; a command waits for its bot up to 20 s.
    static let settleLimit: Microseconds = .seconds(300)
    /// Far more than any seed needs; a loop without end shows here.
    private static let maxEvents: UInt64 = 3_000_000

    let world: World
    let options: Options
    let plan: FaultPlan
    let checker: SafetyChecker
    private(set) var nodes: [NodeMachine] = []
    private(set) var record = HubRecord()
    private var backup: HubBackup?
    var hubWall = WallClock()
    /// The longest transaction on any disk, now.
    private(set) var diskLatency: Microseconds
    private(set) var hub: HubProcess?
    private(set) lazy var network = SimulatedNetwork(self)
    private(set) lazy var workload = Workload(self)
    private lazy var nemesis = Nemesis(self)
    /// The bots there are, wherever they run.
    let botIDs: [String]
    /// Where operators have placed the bots that they moved, whatever the hub's record knows of it.
    var places: [String: (node: String, epoch: UInt64)] = [:]
    /// When they did.
    var placedAt: [String: Microseconds] = [:]
    /// Where the nodes' disks lie; nil where there are none.
    var diskBase: String?
    /// Something can be mounted inside workspaces.
    var canMount = false
    /// What runs the tasks of processes, also those that have ended.
    var executors: [SteppedExecutor] = []
    /// Told how a command ended, once.
    var onEnd: [String: (Command) -> Void] = [:]
    private var numberCount = 0
    private(set) var longestRoundTrip = Duration.zero

    init(seed: UInt64, _ options: Options = Options()) {
        world = World(seed: seed, onTrace: options.onTrace)
        self.options = options
        var plan = FaultPlan(world)
        options.adjust?(&plan)
        self.plan = plan
        diskLatency = plan.diskLatency
        checker = SafetyChecker(world)
        nodes = (0..<plan.nodeCount).map { NodeMachine(number: $0, botCount: plan.botsPerNode, seed: seed) }
        botIDs = nodes.flatMap { $0.bots.map(\.id) }
        record.onFailure = { [checker] in checker.require(false, .database, $0) }
        for node in nodes {
            record.addNode(node.id, at: hubDate)
            for bot in node.bots { record.addBot(bot.id, on: node.id, at: hubDate) }
        }
        makeDisks()
    }

    /// The time by the clock of the hub's machine.
    var hubDate: Date { Date(unixMilliseconds: Int64(clamping: hubWall.unixMilliseconds(world))) }

    /// On a thread of its own, whose rights and mounts it changes.
    static func run(seed: UInt64, _ options: Options = Options()) -> Outcome {
        // Only the new thread uses them until it has ended, which is waited for.
        nonisolated(unsafe) let options = options
        // As above.
        nonisolated(unsafe) var outcome: Outcome?
        let isOver = DispatchSemaphore(value: 0)
        let thread = Thread {
            outcome = Simulation(seed: seed, options).run()
            isOver.signal()
        }
        thread.stackSize = 8 << 20
        thread.start()
        isOver.wait()
        guard let outcome else { preconditionFailure("a simulation has ended without an outcome") }
        return outcome
    }

    func has(_ defect: Defect) -> Bool { options.defects.contains(defect) }

    // MARK: - Course

    func run() -> Outcome {
        start()
        advance(to: plan.duration)
        return finish()
    }

    func start() {
        world.note("plan: \(plan)", 0)
        begin()
        nemesis.start()
    }

    /// Ends the faults and sees whether everything comes to rest.
    func finish() -> Outcome {
        heal()
        let settledAfter = settle()
        // What is settled stays so: no session ends without a reason.
        let connections = network.connectionCount
        advance(to: world.now + .seconds(40))
        if checker.violation == nil {
            checker.require(
                network.connectionCount == connections && unsettled() == nil,
                .notLive,
                "a session ended though nothing was wrong any more: \(unsettled() ?? "a node has dialed again")"
            )
        }
        let outcome = Outcome(
            seed: world.seed,
            violation: checker.violation,
            digest: world.digest,
            events: world.eventCount,
            simulated: world.now,
            settledAfter: settledAfter,
            connections: network.connectionCount,
            packets: nodes.reduce(0) { $0 + $1.bots.reduce(0) { $0 + $1.emittedCount } },
            commands: workload.acceptedCount,
            moves: checker.files.moveCount,
            entries: checker.files.entryCount,
            failures: checker.files.failures
        )
        end()
        return outcome
    }

    func begin() {
        hub = HubProcess(self)
        for node in nodes { startAgent(node) }
        workload.start()
    }

    /// Runs all events before `limit`, and looks at what must hold after each.
    func advance(to limit: Microseconds) {
        while checker.violation == nil, world.runNext(before: limit) {
            checkSessions()
            checker.limit(Int(world.eventCount), Int(Self.maxEvents), "events of this seed")
        }
        if checker.violation == nil { world.skip(to: limit) }
    }

    /// Ends the faults: everything runs, and what is connected from now on stays connected.
    func heal() {
        world.note("faults end", 70)
        network.isHealed = true
        diskLatency = min(diskLatency, .milliseconds(30))
        workload.stop()
        // What a hub that was put back has lost shows by the next packet.
        for bot in nodes.flatMap(\.bots) where bot.isRunning {
            bot.emit()
            agent(of: bot)?.logChanged(bot)
        }
        for node in nodes {
            node.isPartitioned = false
            node.twin?.kill(isTold: true)
            node.twin = nil
            node.agent?.transactionsUntilKill = nil
            for connection in network.connections(of: node) {
                connection.agent.line.cutAfterBytes = nil
                connection.hub.line.cutAfterBytes = nil
            }
        }
        hub?.transactionsUntilKill = nil
    }

    private func settle() -> Microseconds {
        let start = world.now
        while checker.violation == nil {
            guard let problem = unsettled() else { return world.now - start }
            guard world.now - start < Self.settleLimit else {
                checker.require(false, .notLive, "\(Self.settleLimit.text) s after the last fault \(problem)")
                break
            }
            advance(to: world.now + .seconds(1))
        }
        return world.now - start
    }

    private func unsettled() -> String? {
        guard let hub else { return "the hub is down" }
        for node in nodes {
            guard node.agent?.isConnected == true else { return "\(node.id) is not connected" }
            guard let session = hub.session(of: node.id), session.driver.isLive else {
                return "the hub holds no session of \(node.id)"
            }
            let health = hub.registry.live(NodeID(rawValue: node.id))?.health
            guard health == .online else { return "the hub says \(node.id) is \(health?.rawValue ?? "unknown")" }
            guard !network.hasDeadLine(node) else { return "\(node.id) has a connection that a fault still holds" }
            guard node.journal.packetCount == 0 else {
                return "\(node.journal.packetCount) packets of \(node.id) are not acknowledged"
            }
            for bot in node.bots {
                if let problem = checker.missing(of: bot, in: node.journal.journalID, at: node.id) { return problem }
            }
        }
        if let id = record.openDeployments().first { return "\(id) is still under way" }
        if let (id, state) = record.unfinished() { return "\(id) is still \(state)" }
        return nil
    }

    /// Lets go of everything, so that a simulation leaves nothing behind.
    func end() {
        for node in nodes {
            node.agent?.kill(isTold: false)
            node.twin?.kill(isTold: false)
            (node.agent, node.twin) = (nil, nil)
        }
        hub?.kill(isTold: false)
        hub = nil
        while executors.contains(where: { $0.drain() }) {}
        if let diskBase { NodeDisk.remove(diskBase) }
    }

    private func checkSessions() {
        guard let sessions = hub?.sessions else { return }
        for (index, session) in sessions.enumerated() where session.driver.isLive {
            for other in sessions[(index + 1)...] where other.node == session.node && other.driver.isLive {
                checker.require(false, .twoLiveSessions, "the hub has two live sessions of \(session.node)")
            }
        }
    }

    // MARK: - Processes

    private func startAgent(_ node: NodeMachine) {
        let agent = AgentProcess(self, node)
        node.agent = agent
        agent.start()
    }

    func killAgent(_ node: NodeMachine, isTold: Bool) {
        guard let agent = node.agent else { return }
        agent.kill(isTold: isTold)
        node.agent = nil
        world.after(world.pick(Microseconds.milliseconds(20)...Microseconds.seconds(10))) { [weak self] in
            self?.startAgent(node)
        }
    }

    /// A machine's disk becomes what it was. Without the logs it is the journal alone.
    func putBack(_ copy: StateCopy, on node: NodeMachine, withLogs: Bool) {
        checker.forgive(node.journal.commands(notIn: copy.journal))
        node.putBack(copy)
        for bot in node.bots {
            bot.crash()
            checker.files.rebased(bot.label)
            // Its agent starts it again before anybody can tell it that the bot is elsewhere.
            checker.excuse(bot.label)
            if withLogs { checker.lose(bot.label, bot.truncateLog(to: copy.logLengths[bot.label] ?? 0)) }
            // What the journal of then had not read is read again, and told as something new.
            checker.mayRepeat(copy.journal.untold(bot.id))
            checker.mayRepeat(bot.packets(from: copy.journal.logCursor(bot.id)))
        }
        killAgent(node, isTold: false)
    }

    /// A second machine with a node's disk, paired as another node. Nil while there is no hub to pair it with.
    func clone(_ node: NodeMachine) -> NodeMachine? {
        guard hub != nil else { return nil }
        let clone = NodeMachine(number: nodes.count, cloneOf: node, areRunning: world.chance(50))
        world.note("\(clone.id) is a clone of \(node.id)", 72, clone.number)
        for (bot, copy) in zip(node.bots, clone.bots) {
            checker.disown(copy.label)
            checker.excuse(copy.label)
            // What the original had not sent, and what its journal had not read, may be told from here as well.
            checker.mayRepeat(node.journal.waiting(bot.id))
            checker.mayRepeat(bot.packets(from: node.journal.logCursor(bot.id)))
        }
        record.addNode(clone.id, at: hubDate)
        nodes.append(clone)
        startAgent(clone)
        for bot in clone.bots { workload.begin(clone, bot) }
        return clone
    }

    func isClone(_ node: String) -> Bool { nodes.contains { $0.id == node && $0.isClone } }

    func nextNumber() -> Int {
        numberCount += 1
        return numberCount
    }

    /// A name for the hub's own commands.
    func nextName(_ kind: String) -> String { "\(kind)-\(nextNumber())" }

    func killHub(isTold: Bool) {
        guard let hub else { return }
        hub.kill(isTold: isTold)
        startHubLater()
    }

    /// The record is copied.
    func backUp() {
        guard let hub else { return }
        let copy = record.backup(isMarked: !has(.restoresUnmarked), at: hub.date)
        backup = HubBackup(record: copy, stored: checker.storedNumbers)
    }

    /// The last copy of the record is put back, once.
    ///
    /// - Returns: whether there was one.
    func restoreHub() -> Bool {
        guard let backup else { return false }
        self.backup = nil
        world.note("the hub's record is put back", 34)
        record = backup.record
        // What it does not know to be done, and to be elsewhere by now, is done again there.
        checker.forgive(record.open())
        for node in nodes where !record.knows(node.id) { record.addNode(node.id, at: hubDate) }
        checker.restored(backup.stored, knowing: record.knownJournals())
        tolerateUntold()
        killHub(isTold: true)
        return true
    }

    func restartHub() {
        guard let hub, !hub.isStopping else { return }
        hub.stop { [weak self] in self?.startHubLater() }
    }

    private func startHubLater() {
        hub = nil
        world.after(world.pick(Microseconds.milliseconds(50)...Microseconds.seconds(15))) { [weak self] in
            guard let self else { return }
            self.hub = HubProcess(self)
        }
    }

    // MARK: - Look-ups

    /// The agent that reads a bot's log, where it runs.
    func agent(of bot: SimulatedBot) -> AgentProcess? {
        nodes.first { $0.bots.contains { $0 === bot } }?.agent
    }

    /// The credential a node shows on a connection. Tokens are looked up elsewhere; here one is the node's name.
    func token(for connection: SimulatedConnection) -> String {
        nodes.first { node in network.connections(of: node).contains { $0 === connection } }?.id ?? ""
    }

    /// The hub has stored how a command ended.
    func ended(_ command: Command?) {
        guard let command else { return }
        world.note("\(command.id) is \(command.state.rawValue) \(command.errorCode ?? "")", 71)
        checker.ended(command)
        onEnd.removeValue(forKey: command.id.rawValue)?(command)
    }

    func heartbeatAcknowledged(_ roundTrip: Duration) { longestRoundTrip = max(longestRoundTrip, roundTrip) }
}

/// A copy of the hub's record, with what the truth was then.
struct HubBackup {
    let record: HubRecord
    let stored: [String: Set<Int>]
}
