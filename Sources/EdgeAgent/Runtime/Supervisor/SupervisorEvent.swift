import FoundationEssentials
import Glibc

/// A record of the log stream `supervisor`: one JSON object with `event` and the fields that belong to it.
struct SupervisorEvent: Sendable, Codable, Equatable {
    enum Name {
        /// The bot's process runs: `launch_id`, `pid`, `start_time`, `limits`, `isolation`.
        static let started = "started"
        /// The launch is over and nothing it started is alive, but for `survivors`: `launch_id`, `code` or `signal`, `requested`, ...
        static let exited = "exited"
        /// Records were dropped because the disk was full: `dropped_records`, `dropped_bytes`, `since`.
        static let gap = "gap"
        /// A line was longer than the limit: `stream`, `dropped_bytes`.
        static let lineCut = "line_cut"
    }

    var event: String
    var launchID: String?
    var pid: pid_t?
    var startTime: UInt64?
    var code: Int32?
    var signal: Int32?
    /// The end followed a request to stop.
    var requested: Bool?
    var lifetimeMilliseconds: UInt64?
    var lastStderr: String?
    /// Why the process could not be started at all.
    var launchError: String?
    /// The supervisor was gone; the exit status is not known.
    var lost: Bool?
    /// Processes of the bot that the kernel killed because its control group was out of memory; absent where none.
    var memoryKills: UInt64?
    /// It was on trial, and the hub was not heard of for too long.
    var leaseOver: Bool?
    /// What the bot had started and left running when it ended by itself, and which was ended with it; in words.
    var leftBehind: String?
    /// What could not be ended, in words.
    var survivors: String?
    /// Of `started`: every limit that was asked for, and what keeps it.
    var limits: [LimitInForce]?
    /// Of `started`: what keeps the bot to itself, and what does not.
    var isolation: [IsolationInForce]?
    /// Of `gap`: with what the log adds to each line.
    var droppedBytes: UInt64?

    enum CodingKeys: String, CodingKey {
        case event
        case launchID = "launch_id"
        case pid
        case startTime = "start_time"
        case code
        case signal
        case requested
        case lifetimeMilliseconds = "lifetime_ms"
        case lastStderr = "last_stderr"
        case launchError = "launch_error"
        case lost
        case memoryKills = "memory_kills"
        case leaseOver = "lease_over"
        case leftBehind = "left_behind"
        case survivors
        case limits
        case isolation
        case droppedBytes = "dropped_bytes"
    }

    /// Reads a record's text; nil where it is no such object.
    init?(_ text: [UInt8]) {
        guard let event = try? OutsideJSON.decode(Self.self, from: text) else { return nil }
        self = event
    }

    init(event: String) {
        self.event = event
    }

    /// One line. Written by hand: the supervisor has no need of a JSON encoder in its memory.
    var line: [UInt8] {
        var text = #"{"event":\#(JSONText.quoted(event))"#
        func add(_ key: CodingKeys, _ value: String?) {
            if let value { text += ",\"\(key.rawValue)\":\(value)" }
        }
        add(.launchID, launchID.map(JSONText.quoted))
        add(.pid, pid.map { String($0) })
        add(.startTime, startTime.map { String($0) })
        add(.code, code.map { String($0) })
        add(.signal, signal.map { String($0) })
        add(.requested, requested.map { $0 ? "true" : "false" })
        add(.lifetimeMilliseconds, lifetimeMilliseconds.map { String($0) })
        add(.launchError, launchError.map(JSONText.quoted))
        add(.lost, lost.map { $0 ? "true" : "false" })
        add(.memoryKills, memoryKills.map { String($0) })
        add(.leaseOver, leaseOver.map { $0 ? "true" : "false" })
        add(.leftBehind, leftBehind.map(JSONText.quoted))
        add(.survivors, survivors.map(JSONText.quoted))
        add(.limits, limits.map { "[" + $0.map(\.json).joined(separator: ",") + "]" })
        add(.isolation, isolation.map { "[" + $0.map(\.json).joined(separator: ",") + "]" })
        add(.lastStderr, lastStderr.map(JSONText.quoted))
        return Array((text + "}").utf8)
    }
}

extension LimitInForce {
    fileprivate var json: String {
        #"{"resource":\#(JSONText.quoted(resource)),"value":\#(value),"#
            + #""mechanism":\#(JSONText.quoted(mechanism.rawValue)),"note":\#(JSONText.quoted(note))}"#
    }
}

extension IsolationInForce {
    fileprivate var json: String {
        #"{"aspect":\#(JSONText.quoted(aspect.rawValue)),"mechanism":\#(JSONText.quoted(mechanism.rawValue)),"#
            + #""note":\#(JSONText.quoted(note))}"#
    }
}

/// The little of JSON that is written by hand.
enum JSONText {
    /// A JSON string in quotes.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case "\r": result += "\\r"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
