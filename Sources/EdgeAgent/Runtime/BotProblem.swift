/// Something a launch does against the bot contract, or suffers. It runs on; its status tells the problem.
struct BotProblem: Sendable, Equatable, Codable {
    enum Code: String, Sendable, Codable {
        /// A line with the packet prefix that does not go on with one JSON object in UTF-8 (it stays in the log), or with
        /// one whose `seq` or `ts` is out of bounds (it is taken, without that number).
        case badPacket = "bad_packet"
        /// A packet longer than a line may be; its beginning stays in the log.
        case packetTooLong = "packet_too_long"
        /// Another line longer than a line may be.
        case lineTooLong = "line_too_long"
        /// More packets in a second than a hub can be expected to want; they are kept.
        case packetFlood = "packet_flood"
        /// Output that was dropped because the disk was full; no fault of the bot's.
        case outputLost = "output_lost"
    }

    /// Bytes of an offending line that are shown.
    private static let sampleBytes = 120

    var code: Code
    var count: UInt64 = 1
    /// The first time, in a sentence.
    var detail: String
    var sinceUnixMilliseconds: UInt64

    /// What is told: exact up to 100, then in steps of a tenth, so that a flood is not one of status reports as well.
    var toldCount: UInt64 {
        var step: UInt64 = 1
        while count / step > 100 { step *= 10 }
        return count / step * step
    }

    /// The beginning of a line, for a sentence.
    static func sample(_ text: [UInt8]) -> String {
        let beginning = String(decoding: text.prefix(sampleBytes), as: UTF8.self)
        let visible = String(beginning.unicodeScalars.map { $0.value < 0x20 ? " " : Character($0) })
        return text.count > sampleBytes ? visible + "…" : visible
    }
}

/// Counts packets by the second in which they were written, to notice a flood.
struct PacketRate: Sendable, Equatable, Codable {
    /// A second with more packets than this is one of flood.
    static let limit = 1_000

    private var second: UInt64 = 0
    private var count = 0

    init() {}

    /// - Returns: whether this packet makes its second one of flood.
    mutating func add(atUnixMilliseconds time: UInt64) -> Bool {
        if time / 1_000 != second {
            second = time / 1_000
            count = 0
        }
        count += 1
        return count == Self.limit + 1
    }
}
