/// A bot with its log, which outlive the agent, and the truth about what it wrote and did.
///
/// Stands in for a bot process with its supervisor: the log is on disk, what the bot remembers of messages is not.
final class SimulatedBot {
    enum LogEntry {
        case packet(Int)
        /// The trace that a message leaves in the log.
        case took(String)
    }

    let id: String
    private let seed: UInt64
    private(set) var log: [LogEntry] = []
    private(set) var emittedCount = 0
    private(set) var launch = 1
    private var seenInLaunch: Set<String> = []
    /// How often each message was really taken.
    private(set) var timesTaken: [String: Int] = [:]
    /// How often each start was really carried out.
    private(set) var timesStarted: [String: Int] = [:]

    init(id: String, seed: UInt64) {
        self.id = id
        self.seed = seed
    }

    var launchID: String { "\(id)-launch-\(launch)" }

    /// Writes the next packet into the log.
    func emit() {
        emittedCount += 1
        log.append(.packet(emittedCount))
    }

    /// Takes a message unless it has in this launch.
    ///
    /// - Parameter writesAbout: whether it comes to write about the message before it ends.
    func take(_ message: String, writesAbout: Bool) -> Int {
        guard seenInLaunch.insert(message).inserted else { return timesTaken[message] ?? 0 }
        timesTaken[message, default: 0] += 1
        if writesAbout { log.append(.took(message)) }
        return timesTaken[message] ?? 0
    }

    func start(_ command: String) { timesStarted[command, default: 0] += 1 }

    /// Ends and is started again; it remembers nothing.
    func crash() {
        launch += 1
        seenInLaunch = []
    }

    func mentions(_ message: String, from offset: Int) -> Bool {
        log.dropFirst(offset).contains { entry in
            if case .took(message) = entry { true } else { false }
        }
    }

    /// The log's line at an offset, as a follower gets it.
    static func line(_ offset: Int) -> [UInt8] { Array("line \(offset)".utf8) }

    /// What packet `number` looks like: mostly small, now and then longer than a frame.
    func packet(_ number: Int) -> [UInt8] {
        var bytes = Array("\(number)#\(id)#".utf8)
        var mixed = (seed &+ UInt64(number)) &* 0x9E37_79B9_7F4A_7C15
        mixed ^= mixed >> 31
        let size = mixed % 64 == 0 ? 20_000 + Int(mixed >> 8 % 20_000) % 20_000 : Int(mixed % 97)
        bytes.append(contentsOf: repeatElement(UInt8(truncatingIfNeeded: mixed), count: size))
        return bytes
    }

    static func number(in packet: [UInt8]) -> Int? {
        guard let end = packet.firstIndex(of: UInt8(ascii: "#")) else { return nil }
        return Int(String(decoding: packet[..<end], as: UTF8.self))
    }
}
