import FoundationEssentials
import Glibc
import SwiftProtobuf
import WireFormat

/// What the journal keeps about one bot: what should be, and what its log has told so far.
///
/// It is saved before anything is done, and together with the packets and the log cursor it was derived from.
struct BotRecord: Codable, Sendable, Equatable {
    var name = ""
    var profile = ""
    /// Of the profile at the time of the last start; nil in records of agents that had only one.
    var backend: BackendKind?
    var placementEpoch: UInt64 = 0
    /// The bot is meant to run.
    var shouldRun = false
    /// Kept for the bot over all its launches; 0 before the first.
    var chatPort: UInt16 = 0
    var restartCount: UInt32 = 0
    /// Ends in a row of launches that did not live long.
    var quickFailures = 0
    /// Why it will not be started again by itself.
    var failure: String?
    var failureCode: BotReason?
    /// It ended well and its restart policy leaves it at that; in words.
    var completion: String?
    /// What its placement adds to the profile.
    var overrides: ProfileOverrides?
    /// The record was lost and this one was made of what the bot's files say, so what its placement adds is not known.
    var isFound: Bool?
    /// On trial: the longest time without a word from the hub. Nil otherwise, and in records of earlier agents.
    var leaseMilliseconds: UInt64?
    /// The current or the last launch.
    var launch: Launch?
    var lastExit: Exit?

    struct Launch: Codable, Sendable, Equatable {
        var launchID: String
        /// Known once the log says so.
        var bot: ProcessIdentity?
        /// Of the `ready` packet; nil before it.
        var ready: Ready?
        /// Of the `fatal` packet.
        var fatal: String?
        /// The bot's own last packet number.
        var lastSequence: UInt64 = 0
        /// As the launch began: every limit, and what keeps it.
        var limits: [LimitInForce]?
        /// As the launch began: what keeps it to itself.
        var isolation: [IsolationInForce]?
        var problems: [BotProblem]?
        var packetRate: PacketRate?
        var hasEnded = false
        /// What follows from its end is decided and stands in this record.
        var isSettled = false

        init(launchID: String) {
            self.launchID = launchID
        }
    }

    struct Ready: Codable, Sendable, Equatable {
        var chatURL: String?
        /// Counts announcements: a bot may restart itself in place.
        var count: Int
        /// Where in the log it stands; nil in records of earlier agents.
        var logOffset: UInt64?
    }

    struct Exit: Codable, Sendable, Equatable {
        var launchID: String
        var code: Int32
        var signal: Int32
        var atUnixMilliseconds: UInt64
        var lastStderr: String
        var wasRequested: Bool
        var lifetimeMilliseconds: UInt64
        var launchError: String?
        var isLost: Bool
        /// Processes of the bot that the kernel killed for memory.
        var memoryKills: UInt64?
        /// Its time on trial was over.
        var isLeaseOver: Bool?
        /// What it had started and left running, and what was ended with it; in words.
        var leftBehind: String?
        /// What could not be ended, in words.
        var survivors: String?

        /// In words, for a status.
        var summary: String {
            if let launchError { return launchError }
            if isLeaseOver == true { return "was ended because the hub was not heard of while it was on trial" }
            if isLost { return "was ended because its supervisor had died; its exit status is not known" }
            let kills = memoryKills ?? 0
            if isOutOfMemory { return "used more memory than it may and was killed by the kernel" }
            var end = signal != 0 ? "ended by signal \(signal)" : "exited with status \(code)"
            // Of a bot that crashed this would lead astray.
            if let leftBehind, signal == 0, code == 0 {
                end +=
                    ", and what it had started was ended with it: \(leftBehind); a bot has to stay in the foreground "
                    + "(no daemon, no \"&\")"
            }
            return kills > 0 ? "\(end), after the kernel had killed \(kills) of its processes for memory" : end
        }
    }

    init() {}

    /// What is left of the last launch and could not be ended.
    var survivors: String? {
        lastExit.flatMap { $0.launchID == launch?.launchID ? $0.survivors : nil }.map(Self.survivalNotice)
    }

    static func survivalNotice(_ survivors: String) -> String {
        "processes of the bot could not be ended and still run: \(survivors); end them by hand (kill -9), then start the bot again"
    }

    /// Nobody starts it again by itself.
    var isOver: Bool { failure != nil || completion != nil }

    mutating func fail(_ code: BotReason, _ reason: String) {
        failure = reason
        failureCode = code
    }

    mutating func clearOutcome() {
        failure = nil
        failureCode = nil
        completion = nil
    }

    init?(_ bytes: [UInt8]) {
        guard let record = try? OutsideJSON.decode(Self.self, from: bytes) else { return nil }
        self = record
    }

    func encoded() throws -> [UInt8] {
        Array(try JSONEncoder().encode(self))
    }
}

extension BotRecord {
    /// Takes what a stretch of the bot's log says.
    ///
    /// - Parameter missingBytes: log that was rotated away before it was read; told by a packet of type `gap`.
    /// - Returns: the monitor packets in it, in order.
    mutating func ingest(
        _ records: [LogRecord],
        missingBytes: UInt64 = 0,
        at offset: UInt64 = 0
    ) -> [Journal.NewPacket] {
        var packets: [Journal.NewPacket] = []
        if missingBytes > 0 {
            let told = WirePacketGap.with {
                $0.reason = "log_rotated"
                $0.missingBytes = missingBytes
            }
            packets.append(
                gap(
                    #""missing_bytes":\#(missingBytes),"next_offset":\#(offset)"#,
                    told,
                    at: records.first?.atUnixMilliseconds ?? 0,
                    offset: offset
                )
            )
        }
        for record in records {
            switch record.stream {
            case .stdout, .stderr:
                if record.isTruncated {
                    note(.lineTooLong, at: record, "a line is longer than 1 MiB: \(BotProblem.sample(record.text))")
                }
            case .packet: ingestPacket(record, &packets)
            case .supervisor: ingestEvent(record, &packets)
            }
        }
        return packets
    }

    private mutating func ingestPacket(_ record: LogRecord, _ packets: inout [Journal.NewPacket]) {
        // What is no JSON object is a line of the log and stays one.
        guard !record.isTruncated else {
            return note(.packetTooLong, at: record, "a packet is longer than 1 MiB: \(BotProblem.sample(record.text))")
        }
        guard let fields = PacketFields(record.text) else {
            let isText = String(validating: record.text, as: UTF8.self) != nil
            let what = isText ? "is no JSON object" : "is not UTF-8"
            return note(.badPacket, at: record, "a packet \(what): \(BotProblem.sample(record.text))")
        }
        if !fields.outOfBounds.isEmpty {
            let names = fields.outOfBounds.map { "`\($0)`" }.joined(separator: " and ")
            let bounds = "0 to \(OutsideBounds.count.upperBound)"
            note(.badPacket, at: record, "a packet's \(names) is not from \(bounds): \(BotProblem.sample(record.text))")
        }
        if !fields.tooLong.isEmpty {
            let names = fields.tooLong.map { "`\($0)`" }.joined(separator: " and ")
            note(
                .badPacket,
                at: record,
                "a packet has too long a \(names), which was cut: \(BotProblem.sample(record.text))"
            )
        }
        noteRate(record)
        let last = launch?.lastSequence ?? 0
        if fields.type == "ready" {
            let count = (launch?.ready?.count ?? 0) + 1
            launch?.ready = Ready(chatURL: fields.chatURL, count: count, logOffset: record.offset)
        } else if fields.type == "fatal" {
            launch?.fatal = fields.error ?? "the bot gave no reason"
        }
        // A number that goes back means that the bot restarted itself in place.
        let missing = fields.sequence.clampedSubtracting(last).clampedSubtracting(1)
        if missing > 0 {
            let told = WirePacketGap.with {
                $0.reason = "bot_sequence"
                $0.fromBotSequence = last + 1
                $0.toBotSequence = last + missing
                $0.missingPackets = missing
            }
            packets.append(
                gap(
                    #""from_seq":\#(last + 1),"to_seq":\#(last + missing)"#,
                    told,
                    at: record.atUnixMilliseconds,
                    offset: record.offset
                )
            )
        }
        if fields.sequence > 0 { launch?.lastSequence = fields.sequence }
        packets.append(
            Journal.NewPacket(
                launchID: launch?.launchID ?? "",
                botSequence: fields.sequence,
                type: fields.type,
                conversationID: fields.conversationID,
                messageID: fields.messageID,
                turnID: fields.turnID,
                botTimeUnixMilliseconds: fields.timeUnixMilliseconds,
                receivedAtUnixMilliseconds: record.atUnixMilliseconds,
                json: record.text,
                logOffset: record.offset
            )
        )
    }

    private mutating func note(_ code: BotProblem.Code, at record: LogRecord, _ detail: @autoclosure () -> String) {
        var problems = launch?.problems ?? []
        if let index = problems.firstIndex(where: { $0.code == code }) {
            problems[index].count = problems[index].count.clampedAdding(1)
        } else {
            problems.append(
                BotProblem(code: code, detail: detail(), sinceUnixMilliseconds: record.atUnixMilliseconds)
            )
        }
        launch?.problems = problems
    }

    private mutating func noteRate(_ record: LogRecord) {
        var rate = launch?.packetRate ?? PacketRate()
        if rate.add(atUnixMilliseconds: record.atUnixMilliseconds) {
            note(.packetFlood, at: record, "more than \(PacketRate.limit) packets in one second")
        }
        launch?.packetRate = rate
    }

    private mutating func ingestEvent(_ record: LogRecord, _ packets: inout [Journal.NewPacket]) {
        guard let event = SupervisorEvent(record.text) else { return }
        if event.event == SupervisorEvent.Name.gap {
            let bytes = event.droppedBytes ?? 0
            let told = WirePacketGap.with {
                $0.reason = "disk_full"
                $0.missingBytes = bytes
            }
            packets.append(
                gap(#""missing_bytes":\#(bytes)"#, told, at: record.atUnixMilliseconds, offset: record.offset)
            )
            note(.outputLost, at: record, "\(bytes) bytes of its output were dropped because the disk was full")
        }
        guard let launchID = event.launchID else { return }
        switch event.event {
        case SupervisorEvent.Name.started:
            if launch?.launchID != launchID { launch = Launch(launchID: launchID) }
            if let pid = event.pid { launch?.bot = ProcessIdentity(pid: pid, startTime: event.startTime ?? 0) }
            launch?.limits = event.limits
            launch?.isolation = event.isolation
        case SupervisorEvent.Name.exited:
            if event.lost == true, launch?.launchID == launchID {
                // What the supervisor had read and not yet written went with it, and nobody can say what that was.
                let next = (launch?.lastSequence ?? 0) + 1
                let told = WirePacketGap.with {
                    $0.reason = "supervisor_lost"
                    $0.fromBotSequence = next
                }
                packets.append(gap(#""from_seq":\#(next)"#, told, at: record.atUnixMilliseconds, offset: record.offset))
            }
            end(event, at: record.atUnixMilliseconds)
        default: break
        }
    }

    /// Takes how a launch ended.
    mutating func end(_ event: SupervisorEvent, at time: UInt64) {
        guard let launchID = event.launchID else { return }
        if launch?.launchID == launchID { launch?.hasEnded = true }
        lastExit = Exit(
            launchID: launchID,
            code: event.code ?? 0,
            signal: event.signal ?? 0,
            atUnixMilliseconds: time,
            lastStderr: event.lastStderr ?? "",
            wasRequested: event.requested ?? false,
            lifetimeMilliseconds: event.lifetimeMilliseconds ?? 0,
            launchError: event.launchError,
            isLost: event.lost ?? false,
            memoryKills: event.memoryKills,
            isLeaseOver: event.leaseOver,
            leftBehind: event.leftBehind,
            survivors: event.survivors
        )
    }

    /// - Parameter offset: what is missing stands before this in the log.
    func gap(_ fields: String, _ told: WirePacketGap, at time: UInt64, offset: UInt64) -> Journal.NewPacket {
        var told = told
        told.fromUnixMs = time
        told.toUnixMs = time
        return Journal.NewPacket(
            launchID: launch?.launchID ?? "",
            botSequence: 0,
            type: "gap",
            conversationID: "",
            messageID: "",
            turnID: "",
            botTimeUnixMilliseconds: 0,
            receivedAtUnixMilliseconds: time,
            json: Array(#"{"v":1,"type":"gap","reason":"\#(told.reason)",\#(fields)}"#.utf8),
            gap: told,
            logOffset: offset
        )
    }
}
