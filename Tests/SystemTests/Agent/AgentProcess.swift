import SwiftProtobuf
import WebSocketKitLite
import WireFormat

@testable import EdgeAgent

/// One run of the agent, from its start to its end or `kill -9`; what it holds is gone then.
///
/// Stands in for `LinkService` and `LinkSession`, which are tasks around the same parts. Waits between dials by the real
/// `ReconnectBackoff`.
final class AgentProcess {
    let simulation: Simulation
    let machine: NodeMachine
    let instance: String
    let isTwin: Bool
    private(set) var isAlive = true
    private(set) var driver: SessionDriver<AgentSessionMachine>?
    private var dialing: AgentHandshake?
    private var backoff = ReconnectBackoff()
    private var diskFreeAt: Microseconds = 0
    private(set) var executor: CommandExecution?
    private(set) var serving: WorkspaceServing?
    private var uplink: PacketSending?
    private var logReaders: [LogReading] = []
    /// The process is killed after this many more transactions, before it goes on.
    var transactionsUntilKill: Int?
    /// It is the whole machine that goes down then.
    var isKillReboot = false

    var world: World { simulation.world }

    init(_ simulation: Simulation, _ machine: NodeMachine, isTwin: Bool = false) {
        self.simulation = simulation
        self.machine = machine
        self.isTwin = isTwin
        instance = machine.nextInstance()
    }

    func start() {
        world.note("\(instance) starts", 10, machine.number)
        if !isTwin {
            machine.journal.noteStart()
            executor = CommandExecution(self)
            serving = machine.disk.map { WorkspaceServing(self, $0) }
            logReaders = machine.bots.map { LogReading(self, $0) }
            for reader in logReaders { reader.changed() }
        }
        later(world.pick(0...Microseconds.milliseconds(50))) { $0.dial() }
    }

    /// The process ends at once.
    ///
    /// - Parameter isTold: whether its kernel lives to close its sockets.
    func kill(isTold: Bool) {
        guard isAlive else { return }
        world.note("\(instance) is killed", 11, machine.number, isTold ? 1 : 0)
        isAlive = false
        driver?.abandon(isTold: isTold)
        dialing?.abandon(isTold: isTold)
        driver = nil
        dialing = nil
        executor = nil
        serving = nil
        uplink = nil
        logReaders = []
    }

    /// Runs `action` after a while, unless the process was killed meanwhile.
    func later(_ delay: Microseconds, _ action: @escaping (AgentProcess) -> Void) {
        world.after(delay) { [weak self] in
            guard let self, self.isAlive else { return }
            action(self)
        }
    }

    /// One transaction on the journal, then what follows from it. The process can be killed before, between and after.
    func transact<Result>(
        _ transaction: @escaping (inout JournalModel) -> Result,
        then: @escaping (Result) -> Void
    ) {
        diskFreeAt = max(diskFreeAt, world.now) + world.pick(100...simulation.diskLatency)
        later(diskFreeAt - world.now) { process in
            let result = transaction(&process.machine.journal)
            if let left = process.transactionsUntilKill {
                process.transactionsUntilKill = left - 1
                guard left > 0 else {
                    process.transactionsUntilKill = nil
                    let isReboot = process.isKillReboot
                    if isReboot { for bot in process.machine.bots { bot.crash() } }
                    process.simulation.killAgent(process.machine, isTold: !isReboot)
                    return
                }
            }
            process.later(process.world.pick(5...100)) { _ in then(result) }
        }
    }

    /// A bot has written something.
    func logChanged(_ bot: SimulatedBot) {
        logReaders.first { $0.bot === bot }?.changed()
    }

    /// A bot has come to be here.
    func follow(_ bot: SimulatedBot) {
        guard !isTwin else { return }
        let reader = LogReading(self, bot)
        logReaders.append(reader)
        reader.changed()
    }

    /// New packets are in the journal.
    func packetsAdded() { uplink?.packetsAdded() }

    /// Between Welcome and the end of the session.
    var isConnected: Bool { driver?.isLive == true }

    // MARK: - Link

    private func dial() {
        simulation.checker.dialed(instance)
        world.note("\(instance) dials", 12, machine.number)
        simulation.network.connect(machine) { [weak self] outcome in
            guard let self, self.isAlive else {
                if case .connected(let connection) = outcome { connection.agent.abort(isTold: true) }
                return
            }
            switch outcome {
            case .failed: self.redial { $0.connectionFailed() }
            case .connected(let connection): self.upgrade(connection)
            }
        }
    }

    private func upgrade(_ connection: SimulatedConnection) {
        dialing = AgentHandshake(connection, simulation, key: world.random.next()) { [weak self] outcome in
            guard let self, self.isAlive else { return }
            self.dialing = nil
            switch outcome {
            case .accepted(let rest): self.run(connection, rest)
            case .refused(let retryAfter): self.redial { $0.connectionFailed(retryAfter: retryAfter) }
            }
        }
    }

    private func redial(_ note: (inout ReconnectBackoff) -> Void) {
        note(&backoff)
        var random = world.random
        let delay = backoff.nextDelay(using: &random)
        world.random = random
        let wait = simulation.has(.redialsAtOnce) ? 1000 : max(1, world.moment(world.instant + delay) - world.now)
        world.note("\(instance) waits \(wait.text) s", 13, Int(wait))
        later(wait) { $0.dial() }
    }

    private func run(_ connection: SimulatedConnection, _ rest: [UInt8]) {
        let hello = WireHello.with {
            $0.nodeID = machine.id
            $0.instanceID = instance
            $0.bootID = "boot-\(machine.number)"
            $0.machineFingerprint = "machine-\(machine.number)"
            $0.journalID = machine.journal.journalID
            if !isTwin { $0.bots = machine.bots.filter { !$0.isRemoved }.map(\.status) }
        }
        let driver = SessionDriver(
            AgentSessionMachine(hello: hello),
            .client,
            connection,
            in: simulation,
            wall: { [machine] in machine.wall }
        )
        self.driver = driver
        driver.onEvents = { [weak self] in
            self?.later(self?.world.pick(1...200) ?? 1) { $0.takeEvents(of: driver) }
        }
        driver.onFillHeartbeat = { [weak self] in
            self?.later(self?.world.pick(1...2000) ?? 1) { process in
                driver.step { machine, now in machine.sendHeartbeat(WireHeartbeat(), now: now) }
                process.world.note("\(process.instance) heartbeat", 14)
            }
        }
        driver.onTransportClosed = { [weak self] in self?.ended(driver) }
        driver.start(rest: rest)
    }

    private func ended(_ driver: SessionDriver<AgentSessionMachine>) {
        guard self.driver === driver, let ending = driver.ending else { return }
        uplink = nil
        self.driver = nil
        let problem = ending.credentialProblem
        simulation.checker.require(problem == nil, .notLive, "\(instance) was refused as \(problem as Any)")
        redial { $0.sessionEnded(ending) }
    }

    private func takeEvents(of driver: SessionDriver<AgentSessionMachine>) {
        while let event = driver.nextEvent() {
            switch event {
            case .session(.welcomed(let welcome)):
                world.note("\(instance) is welcomed, epoch \(welcome.sessionEpoch)", 15, Int(welcome.sessionEpoch))
                if !isTwin { supersede(welcome.superseded) }
                if !isTwin { uplink = PacketSending(self, driver, welcome) }
            case .session(.settings):
                break
            case .session(.goAway):
                driver.close(.normal, "drained")
            case .session(.heartbeatAcknowledged(let roundTrip, _)):
                simulation.heartbeatAcknowledged(roundTrip)
            case .stream(let stream, let header):
                opened(stream, header, driver)
            }
        }
    }

    /// These bots are not this node's any more.
    private func supersede(_ list: [WireSupersession]) {
        for item in list {
            transact {
                $0.raiseEpoch(item.botID, to: item.placementEpoch)
            } then: { [machine, simulation] in
                if let bot = machine.bot(item.botID) { simulation.stop(bot, on: machine, for: "supersession") }
            }
        }
    }

    private func opened(_ stream: UInt32, _ header: WireStreamHeader, _ driver: SessionDriver<AgentSessionMachine>) {
        switch header.kind {
        case .command(let command) where executor != nil:
            executor?.handle(command, on: stream, driver)
        case .syncSource where serving != nil, .syncTarget where serving != nil:
            serving?.serve(header, on: stream, driver)
        case .logs(let request) where !isTwin:
            LogAnswer(self, driver, stream, request).run()
        default:
            driver.reset(stream, .refused)
            driver.release(stream)
        }
    }
}
