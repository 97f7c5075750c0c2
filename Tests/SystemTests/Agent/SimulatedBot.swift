import SwiftProtobuf
import WireFormat

/// A bot on one machine, with its log: both outlive the agent. A bot that is moved, or whose machine is copied, has one of these on
/// each machine.
///
/// Stands in for a bot process with its supervisor: the log is on disk, what the bot remembers of messages is not.
final class SimulatedBot {
    /// Something the bot wrote, as whoever reads its log takes it.
    struct Packet {
        /// Which copy of the bot wrote it, and the number of what that copy wrote.
        let label: String
        let number: Int
        let type: String
        /// The message it names; empty for none.
        let message: String
        let launchID: String
    }

    enum LogEntry {
        case packet(Packet)
        /// The trace that a message leaves in the log.
        case took(String)
    }

    let id: String
    /// Tells this copy from others of the same bot.
    let label: String
    private(set) var log: [LogEntry] = []
    /// What it has written, also where the log is gone.
    private(set) var emittedCount = 0
    private(set) var launch = 1
    private var seenInLaunch: Set<String> = []
    /// Whether its processes live.
    var isRunning = true
    /// Its workspace is gone, and with it what the agent knows of it; the log stays.
    private(set) var isRemoved = false
    /// What its workspace holds: another number for each thing it was told. 0 is an empty one.
    var workspace = 0
    /// Where it writes that down.
    var disk: NodeDisk?
    /// The placement that it was started under.
    var epoch: UInt64 = 1

    init(id: String, label: String, log: [LogEntry] = []) {
        (self.id, self.label, self.log) = (id, label, log)
    }

    var launchID: String { "\(label)-launch-\(launch)" }

    var status: WireBotStatus {
        .with {
            ($0.botID, $0.launchID, $0.placementEpoch) = (id, launchID, epoch)
            $0.phase = isRunning ? .ready : .stopped
        }
    }

    /// Writes the next packet into the log.
    func emit(_ type: String = "note", about message: String = "") {
        emittedCount += 1
        let packet = Packet(label: label, number: emittedCount, type: type, message: message, launchID: launchID)
        log.append(.packet(packet))
    }

    /// Takes a message unless it has in this launch: then false.
    ///
    /// - Parameter writesAbout: whether it comes to write about the message before it ends.
    func take(_ message: String, writesAbout: Bool) -> Bool {
        guard seenInLaunch.insert(message).inserted else { return false }
        if writesAbout { log.append(.took(message)) }
        workspace += 1
        disk?.remember(id, workspace)
        return true
    }

    /// Ends and is started again; it remembers nothing.
    func crash() {
        launch += 1
        seenInLaunch = []
    }

    func stop() {
        guard isRunning else { return }
        isRunning = false
        crash()
    }

    func remove() {
        stop()
        (isRemoved, workspace) = (true, 0)
    }

    /// It is placed here, with what was carried over.
    func receive(workspace: Int) { (isRemoved, self.workspace) = (false, workspace) }

    /// The log is put back as it was when it had so many entries.
    ///
    /// - Returns: the numbers of the packets that are gone with it.
    func truncateLog(to count: Int) -> [Int] {
        let gone = packets(from: count).filter { $0.label == label }.map(\.number)
        log.removeLast(max(0, log.count - count))
        return gone
    }

    /// What was written from an entry of its log on, also by those that it is a copy of.
    func packets(from entry: Int) -> [(label: String, number: Int)] {
        log[min(entry, log.count)...].compactMap { entry in
            if case .packet(let packet) = entry { (packet.label, packet.number) } else { nil }
        }
    }

    func mentions(_ message: String, from offset: Int) -> Bool {
        log.dropFirst(offset).contains { entry in
            if case .took(message) = entry { true } else { false }
        }
    }

    /// The log's line at an offset, as a follower gets it.
    static func line(_ offset: Int) -> [UInt8] { Array("line \(offset)".utf8) }
}

extension SimulatedBot.Packet {
    /// What it looks like: mostly small, now and then longer than a frame.
    static func bytes(_ label: String, _ number: Int) -> [UInt8] {
        var mixed = label.utf8.reduce(UInt64(clamping: number)) { ($0 &* 31) &+ UInt64($1) } &* 0x9E37_79B9_7F4A_7C15
        mixed ^= mixed >> 31
        let size = mixed % 96 == 0 ? 20_000 + Int(clamping: (mixed >> 8) % 20_000) : Int(clamping: mixed % 97)
        var bytes = Array("{\"from\":\"\(label)\",\"number\":\(number),\"text\":\"".utf8)
        bytes.append(contentsOf: repeatElement(UInt8(ascii: "a") + UInt8(truncatingIfNeeded: mixed % 26), count: size))
        return bytes + Array("\"}".utf8)
    }

    /// Which copy wrote it, and which of its packets it is.
    static func origin(of bytes: [UInt8]) -> (label: String, number: Int)? {
        let parts = bytes.prefix(200).split(separator: UInt8(ascii: "\""), maxSplits: 6)
        guard parts.count == 7 else { return nil }
        let digits = parts[6].dropFirst().prefix { $0 != UInt8(ascii: ",") }
        guard let number = Int(String(decoding: digits, as: UTF8.self)) else { return nil }
        return (String(decoding: parts[3], as: UTF8.self), number)
    }

    func wire(_ bot: String, readAt unixMilliseconds: UInt64) -> WireMonitorPacket {
        .with {
            ($0.botID, $0.launchID, $0.type, $0.messageID) = (bot, launchID, type, message)
            $0.botSequence = UInt64(clamping: number)
            $0.receivedAtUnixMs = unixMilliseconds
            $0.json = .init(Self.bytes(label, number))
        }
    }
}
