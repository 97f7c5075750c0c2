import Foundation
import WireFormat

@testable import ControlHub

/// One run of the hub, from its start to its end or `kill -9`.
///
/// Health (`NodeRegistry`), who is live (`LiveSessions`), the machine for admission and what is done with the database
/// are the hub's own. The database is in memory, behind one writer that takes its time.
final class HubProcess {
    let simulation: Simulation
    let registry: NodeRegistry
    let live = LiveSessions()
    private(set) var isAlive = true
    private(set) var isStopping = false
    private var admission: AdmissionMachine
    private var handshakes: [ObjectIdentifier: HubHandshake] = [:]
    private(set) var sessions: [HubNodeSession] = []
    private var diskFreeAt: Microseconds = 0
    private(set) lazy var time = HubTime(self)
    /// Nil where no workspace is moved.
    private(set) var deploying: Deploying?
    /// The process is killed after this many more transactions, before it goes on.
    var transactionsUntilKill: Int?

    private var world: World { simulation.world }

    init(_ simulation: Simulation) {
        self.simulation = simulation
        admission = AdmissionMachine(simulation.plan.admission, now: simulation.world.instant)
        registry = NodeRegistry(thresholds: HealthThresholds())
        let isRestored = simulation.record.begin(at: time.date)
        world.note("hub starts\(isRestored ? " with a record that was put back" : "")", 30)
        look()
        expire()
        time.run()
        guard simulation.hasDisks else { return }
        deploying = Deploying(self)
        deploying?.start()
    }

    /// The time by which everything is stored and compared.
    var date: Date { time.date }

    // MARK: - Connections

    func accept(_ connection: SimulatedConnection) {
        guard !isStopping else {
            connection.hub.abort(isTold: true)
            return
        }
        let handshake = HubHandshake(connection, simulation) { [weak self] in
            guard let self else { return .seconds(1) }
            guard !self.admission.admit(now: self.world.instant) else { return nil }
            return self.admission.nextTurn(now: self.world.instant, using: &self.world.random)
        } onEnd: { [weak self] handshake, session in
            guard let self, self.isAlive else { return }
            self.handshakes[ObjectIdentifier(handshake)] = nil
            guard let session else { return }
            self.sessions.append(HubNodeSession(self, connection, token: session.token))
            self.sessions.last?.start(rest: session.rest)
        }
        handshakes[ObjectIdentifier(handshake)] = handshake
        simulation.checker.limit(handshakes.count, 200, "handshakes at the hub")
    }

    func ended(_ session: HubNodeSession) { sessions.removeAll { $0 === session } }

    /// The session of a node that the hub holds for its present one.
    func session(of node: String) -> HubNodeSession? {
        guard let present = live[NodeID(rawValue: node)] else { return nil }
        return sessions.first { $0.handle === present }
    }

    /// Sends the nodes away and then ends.
    func stop(_ then: @escaping () -> Void) {
        world.note("hub stops", 31)
        isStopping = true
        for session in sessions { session.driver.close(.hubRestarting, "the hub is restarting") }
        later(world.pick(Microseconds.milliseconds(5)...Microseconds.seconds(3))) { hub in
            hub.kill(isTold: true)
            then()
        }
    }

    func kill(isTold: Bool) {
        guard isAlive else { return }
        world.note("hub ends", 32, isTold ? 1 : 0)
        isAlive = false
        for session in sessions { session.driver.abandon(isTold: isTold) }
        for handshake in handshakes.values.sorted(by: { $0.number < $1.number }) { handshake.abandon(isTold: isTold) }
        sessions = []
        handshakes = [:]
        deploying?.end()
        deploying = nil
    }

    // MARK: - Database

    func later(_ delay: Microseconds, _ action: @escaping (HubProcess) -> Void) {
        world.after(delay) { [weak self] in
            guard let self, self.isAlive else { return }
            action(self)
        }
    }

    /// One write transaction, then what follows from it. The process can be killed before, between and after.
    func write<Result>(
        _ transaction: @escaping (HubRecord) -> Result,
        then: @escaping (Result) -> Void
    ) {
        diskFreeAt = max(diskFreeAt, world.now) + world.pick(100...simulation.diskLatency)
        later(diskFreeAt - world.now) { hub in
            let result = transaction(hub.simulation.record)
            if let left = hub.transactionsUntilKill {
                hub.transactionsUntilKill = left - 1
                guard left > 0 else {
                    hub.transactionsUntilKill = nil
                    hub.simulation.killHub(isTold: true)
                    return
                }
            }
            hub.later(hub.world.pick(5...100)) { _ in then(result) }
        }
    }

    func read<Result>(_ body: @escaping (HubRecord) -> Result, then: @escaping (Result) -> Void) {
        later(world.pick(50...500)) { hub in
            let result = body(hub.simulation.record)
            hub.later(hub.world.pick(5...100)) { _ in then(result) }
        }
    }

    // MARK: - Commands

    /// Does what an operator wants; `accepted` is called when the operator has the answer.
    ///
    /// - Parameter wish: which nodes have something new to do; nil where it was refused.
    func ask(_ wish: @escaping (HubRecord, Date) -> HubRecord.Asked?, accepted: @escaping () -> Void = {}) {
        guard !isStopping else { return }
        let date = date
        write {
            wish($0, date)
        } then: { [weak self] nodes in
            guard let nodes else { return }
            accepted()
            for node in nodes { self?.session(of: node)?.commandsChanged() }
        }
    }

    // MARK: - Clockwork

    private func expire() {
        later(.seconds(5)) { hub in
            let date = hub.date
            if hub.time.isSettled, hub.simulation.record.isAnythingDue(at: date) {
                hub.write {
                    $0.expire(at: date)
                } then: { ended in
                    for outcome in ended { hub.simulation.ended(outcome.command) }
                }
            }
            if hub.simulation.record.hasOverdue(at: date) {
                hub.write {
                    $0.endOverdue(at: date)
                } then: { changes in
                    for change in changes { hub.simulation.checker.endedByTime(change) }
                }
            }
            hub.expire()
        }
    }

    private func look() {
        later(.seconds(1)) { hub in
            _ = hub.registry.evaluateAll(now: hub.world.instant, at: hub.date)
            hub.look()
        }
    }
}
