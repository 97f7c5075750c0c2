import SwiftProtobuf
import WebSocketKitLite
import WireFormat

@testable import ControlHub

/// The hub's end of one node's session.
///
/// Stands in for `GatewayService.serve`, which is tasks: Hello, token, epoch, takeover, Welcome; then heartbeats, packets
/// and commands, in the same order of reads and writes. Which session is live, whether a second machine uses the
/// identity, and which commands may be sent are decided by the hub's own `LiveSessions`, `NodeRegistry` and
/// `CommandPump`.
final class HubNodeSession {
    private static let limits = WireLimits.with {
        ($0.maxMessageBytes, $0.maxStreams, $0.maxUnacknowledgedPackets) = (4 << 20, 256, 2048)
    }

    let driver: SessionDriver<HubSessionMachine>
    /// Stands for this session in `LiveSessions`, which knows sessions only by who they are.
    let handle: HubSession
    let node: String
    private let hub: HubProcess
    private var epoch: UInt64?
    private var entry: LiveSession?
    private var isBusy = false
    private var journal = ""
    private var commands: CommandSending?
    private var ingests: [UInt32: PacketIngest] = [:]

    private var world: World { hub.simulation.world }
    private var simulation: Simulation { hub.simulation }

    init(_ hub: HubProcess, _ connection: SimulatedConnection, token: String) {
        self.hub = hub
        node = token
        handle = HubSession(transport: NoTransport(), clock: SessionClock(unixMilliseconds: { 0 }))
        driver = SessionDriver(
            HubSessionMachine(),
            .server,
            connection,
            in: hub.simulation,
            wall: { [simulation = hub.simulation] in simulation.hubWall }
        )
        driver.onEvents = { [weak self] in
            guard let self else { return }
            self.hub.later(self.world.pick(1...200)) { [weak self] _ in self?.takeEvents() }
        }
        driver.onEnded = { [weak self] ending in
            guard let self else { return }
            self.hub.later(self.world.pick(1...1000)) { [weak self] _ in self?.leave() }
        }
        driver.onTransportClosed = { [weak self] in self?.closed() }
    }

    func start(rest: [UInt8]) { driver.start(rest: rest) }

    func commandsChanged() { commands?.changed() }

    private func closed() {
        commands = nil
        ingests = [:]
        // Its end is still on its way.
        hub.later(1001) { [self] hub in hub.ended(self) }
    }

    // MARK: - Events, one at a time

    private func takeEvents() {
        guard !isBusy, let event = driver.nextEvent() else { return }
        switch event {
        case .session(.hello(let hello)):
            isBusy = true
            journal = hello.journalID
            hub.read { _ in
                ()
            } then: { [weak self] in
                self?.authenticated(hello)
            }
        case .session(.heartbeat(let heartbeat, _)):
            guard let epoch else { return }
            let (isCurrent, _, _) = hub.registry.heartbeat(
                NodeID(rawValue: node),
                epoch: epoch,
                heartbeat,
                now: world.instant,
                at: hub.date
            )
            world.note("hub hears \(node), epoch \(epoch), current \(isCurrent)", 40, isCurrent ? 1 : 0)
        case .session(.botStatus), .session(.telemetry), .session(.goAway):
            break
        case .stream(let stream, let header):
            if case .packets(let packets) = header.kind, let epoch {
                ingests[stream] = PacketIngest(hub, driver, stream, node, epoch: epoch, journal: packets.journalID)
                ingests[stream]?.next()
            }
        }
        if !isBusy { takeEvents() }
    }

    private func authenticated(_ hello: WireHello) {
        guard driver.ending == nil else { return }
        let id = NodeID(rawValue: node)
        let machine = MachineWitness(hello, remoteAddress: "")
        guard hub.registry.judge(id, machine, now: world.instant, at: hub.date).quarantineReason == nil else {
            driver.close(.replaced, "quarantined")
            return
        }
        let date = hub.date
        hub.write { [node] in
            $0.openSession(hello, of: node, at: date)
        } then: { [weak self] epoch in
            if let epoch { self?.opened(hello, epoch) }
        }
    }

    private func opened(_ hello: WireHello, _ epoch: UInt64) {
        _ = hub.registry.open(
            NodeID(rawValue: node),
            epoch: epoch,
            hello: hello,
            remoteAddress: "",
            now: world.instant,
            at: hub.date
        )
        let entry = LiveSession(node: NodeID(rawValue: node), epoch: epoch, session: handle)
        self.entry = entry
        self.epoch = epoch
        if let old = hub.live.enter(entry) {
            if old.epoch == epoch {
                driver.close(.replaced, "a newer session took over")
                return
            }
            world.note("epoch \(epoch) of \(node) replaces \(old.epoch)", 41, Int(epoch))
            if !simulation.has(.keepsReplacedSession) {
                hub.sessions.first { $0.handle === old.session }?.driver
                    .close(.replaced, "a newer session took over")
            }
        }
        let date = hub.date
        hub.write { [node] in
            $0.take(hello, of: node, epoch: epoch, at: date)
        } then: { [weak self] changes in
            guard let self else { return }
            guard changes != nil else {
                self.driver.close(.replaced, "a newer session took over")
                return
            }
            self.settle(hello, epoch)
        }
    }

    private func settle(_ hello: WireHello, _ epoch: UInt64) {
        let (simulation, date, journal) = (simulation, hub.date, journal)
        let isConfused = simulation.has(.mergesClonedJournals)
        hub.write { [node] record in
            if isConfused { record.confuse(journal, of: node) }
            return record.settle(hello, of: node, naming: { simulation.nextName("settle") }, at: date)
        } then: { [weak self, node] superseded in
            self?.hub.read {
                $0.cursors(journal, of: node)
            } then: { [weak self] cursors in
                self?.accept(epoch, cursors, superseded)
            }
        }
    }

    private func accept(_ epoch: UInt64, _ cursors: [WirePacketCursor], _ superseded: [WireSupersession]) {
        let welcome = WireWelcome.with {
            $0.nodeID = node
            $0.sessionEpoch = epoch
            $0.heartbeatIntervalMs = 15_000
            $0.offlineAfterMs = 45_000
            $0.limits = Self.limits
            $0.packetCursors = cursors
            $0.superseded = superseded
        }
        // Throws where the session has ended since.
        let isAccepted: Void? = (try? driver.step { machine, now in try machine.accept(welcome, now: now) }) ?? nil
        guard isAccepted != nil else { return }
        world.note("hub accepts \(node), epoch \(epoch)", 42, Int(epoch))
        commands = CommandSending(self, hub, driver, epoch: epoch)
        commands?.changed()
        isBusy = false
        takeEvents()
    }

    /// The session is over for the hub, whatever its socket still does.
    private func leave() {
        guard let entry, let epoch else { return }
        self.entry = nil
        hub.live.leave(entry)
        _ = hub.registry.close(
            NodeID(rawValue: node),
            epoch: epoch,
            reason: "\(driver.ending as Any)",
            now: world.instant,
            at: hub.date
        )
    }
}

/// Commits packets and acknowledges them, in this order.
final class PacketIngest {
    private let hub: HubProcess
    private let driver: SessionDriver<HubSessionMachine>
    private let stream: UInt32
    private let node: String
    private let epoch: UInt64
    private let journal: String
    private var isBusy = false
    private var unsent: [UInt8]?

    init(
        _ hub: HubProcess,
        _ driver: SessionDriver<HubSessionMachine>,
        _ stream: UInt32,
        _ node: String,
        epoch: UInt64,
        journal: String
    ) {
        self.hub = hub
        (self.node, self.epoch) = (node, epoch)
        self.driver = driver
        self.stream = stream
        self.journal = journal
        driver.handle(stream) { [weak self] in
            self?.flush()
            self?.next()
        }
    }

    func next() {
        guard !isBusy, unsent == nil else { return }
        switch driver.read(stream) {
        case .message(let bytes):
            guard let batch = try? WirePacketBatch(serializedBytes: bytes) else {
                hub.simulation.checker.require(false, .messageBoundary, "a batch of packets cannot be decoded")
                return
            }
            isBusy = true
            if hub.simulation.has(.acknowledgesBeforeStoring) {
                let cursors = batch.packets.map { packet in
                    WirePacketCursor.with { ($0.botID, $0.throughSequence) = (packet.botID, packet.sequence) }
                }
                acknowledge(cursors)
                store(batch.packets) { _ in }
            } else {
                store(batch.packets) { [weak self] cursors in self?.acknowledge(cursors) }
            }
        case .finished:
            driver.finish(stream)
            driver.release(stream)
        case .reset:
            driver.release(stream)
        case .pending:
            break
        }
    }

    private func store(_ packets: [WireMonitorPacket], then: @escaping ([WirePacketCursor]) -> Void) {
        let simulation = hub.simulation
        let (checker, ignoresKey) = (simulation.checker, simulation.has(.storesWithoutKey))
        let (journal, node, epoch, date) = (journal, node, epoch, hub.date)
        hub.write { record -> MonitorPacketStore.Ingested? in
            let hosted = Set(packets.map(\.botID)).filter { record.place(of: $0)?.node == node }
            guard
                let ingested = record.ingest(
                    packets,
                    journal: journal,
                    from: node,
                    epoch: ignoresKey ? nil : epoch,
                    isBelieved: simulation.has(.believesFormerHost),
                    at: date
                )
            else { return nil }
            var new: [String: String] = [:]
            for stored in ingested.stored {
                if let gap = stored.gap, let first = gap.fromSequence, let last = gap.toSequence, first <= last {
                    guard !simulation.has(.forgetsWhatItLost) else { continue }
                    checker.gap(in: stored.journalID, of: stored.botID.rawValue, first...last)
                } else {
                    new["\(stored.botID)/\(stored.sequence)"] = stored.journalID
                }
            }
            let refused = Set(ingested.refused.map(\.bot.rawValue))
            for packet in packets {
                if refused.contains(packet.botID) {
                    checker.refused(Array(packet.json), isExpected: simulation.isClone(node))
                } else if let journal = new["\(packet.botID)/\(packet.sequence)"] ?? (ignoresKey ? "" : nil) {
                    checker.stored(Array(packet.json), in: journal, packet.sequence)
                }
            }
            for change in ingested.messages {
                checker.changed(change, by: packets, from: node, isHost: hosted.contains(change.bot.rawValue))
            }
            return ingested
        } then: { [weak self] ingested in
            if let ingested {
                then(ingested.cursors)
            } else {
                self?.driver.close(.replaced, "a newer session took over")
            }
        }
    }

    private func acknowledge(_ cursors: [WirePacketCursor]) {
        isBusy = false
        unsent = try? WirePacketAck.with { $0.cursors = cursors }.serializedBytes()
        flush()
        next()
    }

    private func flush() {
        guard let bytes = unsent, driver.send(bytes, on: stream) != false else { return }
        unsent = nil
    }
}

/// What `LiveSessions` holds for a session here never carries anything.
private struct NoTransport: MessageTransport {
    func send(_ message: [UInt8]) async throws {}
    func receive() async throws -> [UInt8]? { nil }
    func close(code: UInt16, reason: String) async {}
}
