import SwiftProtobuf
import WireFormat

@testable import EdgeAgent

/// Brings a bot's log into the journal: packets and how far the log was read, in one transaction.
final class LogReading {
    let bot: SimulatedBot
    private unowned let process: AgentProcess
    private var isBusy = false
    private var isStale = false

    init(_ process: AgentProcess, _ bot: SimulatedBot) {
        self.process = process
        self.bot = bot
    }

    func changed() {
        isStale = true
        guard !isBusy else { return }
        isBusy = true
        isStale = false
        let (bot, process) = (bot, process)
        let isSplit = process.simulation.has(.storesLogCursorLater)
        let now = process.machine.wall.unixMilliseconds(process.world)
        process.transact { journal in
            let (packets, end) = Self.unread(bot, journal.logCursor(bot.id), now: now)
            journal.append(packets, bot: bot.id)
            if !isSplit { journal.setLogCursor(bot.id, end) }
            return end
        } then: { [weak self] end in
            guard isSplit else {
                self?.stored()
                return
            }
            process.transact {
                $0.setLogCursor(bot.id, end)
            } then: {
                self?.stored()
            }
        }
    }

    private func stored() {
        isBusy = false
        process.packetsAdded()
        if isStale { changed() }
    }

    private static func unread(_ bot: SimulatedBot, _ cursor: Int, now: UInt64) -> (
        packets: [WireMonitorPacket], end: Int
    ) {
        let packets = bot.log[min(cursor, bot.log.count)...].compactMap { entry -> WireMonitorPacket? in
            if case .packet(let packet) = entry { packet.wire(bot.id, readAt: now) } else { nil }
        }
        return (packets, bot.log.count)
    }
}

/// Sends packets from the journal over one session, and takes acknowledgements.
///
/// Stands in for `PacketUplink`, whose two loops are tasks; the window is the real one.
final class PacketSending {
    private static let batchBytes = 64 << 10

    private unowned let process: AgentProcess
    private let driver: SessionDriver<AgentSessionMachine>
    private var window: PacketWindow
    private let windowPackets: Int
    private var acknowledged: [String: UInt64] = [:]
    private var stream: UInt32?
    private var isBusy = false
    private var isStale = false
    private var isAcknowledging = false
    private var unsent: (packets: [WireMonitorPacket], bytes: [UInt8])?

    init(_ process: AgentProcess, _ driver: SessionDriver<AgentSessionMachine>, _ welcome: WireWelcome) {
        self.process = process
        self.driver = driver
        windowPackets = Int(welcome.limits.maxUnacknowledgedPackets)
        window = PacketWindow(limit: windowPackets, committed: [])
        meet(welcome)
    }

    /// Compares the journal with what the hub has of it, before anything is sent.
    private func meet(_ welcome: WireWelcome) {
        let simulation = process.simulation
        let newName = process.machine.nextJournalName()
        let isBlind =
            simulation.has(.trustsCopiedJournal)
            || process.machine.isClone && simulation.has(.mergesClonedJournals)
        process.transact { journal -> Journal.Meeting in
            let (meeting, gone) = journal.meet(
                node: welcome.nodeID,
                welcome.packetCursors,
                newName: newName,
                isBlind: isBlind
            )
            for packet in gone { simulation.checker.forgotten(Array(packet.json)) }
            return meeting
        } then: { [weak self] meeting in
            guard let self else { return }
            if meeting.standing != .same {
                simulation.world.note("\(self.process.instance) goes on as \(newName): \(meeting.standing)", 16)
            }
            self.acknowledged = Dictionary(
                meeting.committed.map { ($0.botID, $0.throughSequence) },
                uniquingKeysWith: max
            )
            self.window = PacketWindow(limit: self.windowPackets, committed: meeting.committed)
            self.acknowledge(meeting.committed) { [weak self] in self?.begin() }
        }
    }

    func packetsAdded() {
        isStale = true
        send()
    }

    /// How many packets may be sent now; the window itself says so only to a task that waits.
    private var room: Int {
        windowPackets - window.sent.reduce(0) { $0 + Int($1.value) - Int(acknowledged[$1.key] ?? 0) }
    }

    private func begin() {
        let header = WireStreamHeader.with { $0.packets.journalID = process.machine.journal.journalID }
        stream = driver.open(header, priority: .packets) { [weak self] in
            self?.flush()
            self?.receive()
        }
        send()
    }

    private func send() {
        guard stream != nil, !isBusy, unsent == nil, room > 0 else { return }
        isBusy = true
        isStale = false
        let sent = window.sent
        process.transact { journal in
            journal.unacknowledged(after: sent, maxBytes: Self.batchBytes)
        } then: { [weak self] found in
            guard let self else { return }
            self.isBusy = false
            guard !found.isEmpty else {
                if self.isStale { self.send() }
                return
            }
            let packets = Array(found.prefix(self.room))
            let batch = WirePacketBatch.with { $0.packets = packets }
            guard let bytes: [UInt8] = try? batch.serializedBytes() else { return }
            self.unsent = (packets, bytes)
            self.flush()
        }
    }

    private func flush() {
        guard let stream, let batch = unsent, driver.send(batch.bytes, on: stream) == true else { return }
        unsent = nil
        for packet in batch.packets where acknowledged[packet.botID] == nil {
            acknowledged[packet.botID] = packet.sequence - 1
        }
        window.sending(batch.packets)
        process.simulation.checker.limit(
            windowPackets - room,
            windowPackets,
            "packets of \(process.machine.id) under way"
        )
        if process.simulation.has(.forgetsPacketsWhenSent) {
            let cursors = batch.packets.map { packet in
                WirePacketCursor.with { ($0.botID, $0.throughSequence) = (packet.botID, packet.sequence) }
            }
            acknowledge(cursors) {}
        }
        send()
    }

    private func receive() {
        guard let stream, !isAcknowledging, case .message(let bytes) = driver.read(stream),
            let ack = try? WirePacketAck(serializedBytes: bytes)
        else { return }
        isAcknowledging = true
        acknowledge(ack.cursors) { [weak self] in
            guard let self else { return }
            self.isAcknowledging = false
            self.window.acknowledged(ack.cursors)
            for cursor in ack.cursors {
                self.acknowledged[cursor.botID] = max(self.acknowledged[cursor.botID] ?? 0, cursor.throughSequence)
            }
            self.send()
            self.receive()
        }
    }

    private func acknowledge(_ cursors: [WirePacketCursor], then: @escaping () -> Void) {
        let simulation = process.simulation
        process.transact { journal in
            for packet in journal.acknowledge(cursors) { simulation.checker.forgotten(Array(packet.json)) }
        } then: {
            then()
        }
    }
}

/// Answers a request for a bot's log with numbered lines.
final class LogAnswer {
    private static let linesPerChunk = 40

    private let process: AgentProcess
    private let driver: SessionDriver<AgentSessionMachine>
    private let stream: UInt32
    private var next: UInt64
    private let end: UInt64

    init(
        _ process: AgentProcess,
        _ driver: SessionDriver<AgentSessionMachine>,
        _ stream: UInt32,
        _ request: WireLogRequest
    ) {
        self.process = process
        self.driver = driver
        self.stream = stream
        next = request.fromOffset
        end = next + 800
    }

    func run() {
        driver.handle(stream) { self.send() }
        send()
    }

    private func send() {
        while next < end {
            let chunk = WireLogChunk.with { chunk in
                chunk.lines = (next..<min(end, next + UInt64(Self.linesPerChunk))).map { offset in
                    .with { ($0.offset, $0.text) = (offset, .init(SimulatedBot.line(Int(offset)))) }
                }
                chunk.nextOffset = min(end, next + UInt64(Self.linesPerChunk))
            }
            guard let bytes: [UInt8] = try? chunk.serializedBytes() else { return }
            switch driver.send(bytes, on: stream) {
            case true?: next = chunk.nextOffset
            case false?: return
            case nil:
                driver.release(stream)
                return
            }
        }
        driver.finish(stream)
        driver.release(stream)
    }
}
