import ArgumentParser
import WireFormat

/// The flags that say how much the hub keeps.
struct RetentionOptions: ParsableArguments {
    @Option(
        help: """
            Monitor packets that are kept: age=90d,bytes=8G,bot-rows=1000000,bot-bytes=1G,node-rows=10000000,\
            node-bytes=4G unless given; off lifts a limit. For this and the others see docs/operations.md.
            """
    )
    var keepPackets: String?

    @Option(help: "Messages that are kept: age, bytes, bot-rows, bot-bytes, node-rows, node-bytes.")
    var keepMessages: String?

    @Option(help: "Commands that have ended and are kept: age, bytes, bot-rows, bot-bytes, node-rows, node-bytes.")
    var keepCommands: String?

    @Option(help: "Entries of the audit log that are kept: age, bytes, actor-rows, actor-bytes.")
    var keepAudit: String?

    @Option(help: "Answers to repeated requests that are kept, for a day: bytes, operator-rows, operator-bytes.")
    var keepAnswers: String?

    @Option(help: "Deployments that are kept: age, bytes, bot-rows, bot-bytes.")
    var keepDeployments: String?

    @Option(help: "Enrollments that are over and kept: age, bytes, operator-rows.")
    var keepEnrollments: String?

    @Option(help: "Figures of nodes, of which hourly means are kept in the end. (default: 30d)")
    var keepResources: String?

    @Option(help: "Between two looks at what is kept. (default: 60s)")
    var retentionInterval: String?

    @Option(help: "Of all copies of logs together. (default: 10G)")
    var keepLogsBytes: String?

    @Option(help: "Copies of logs go so long after they were written; 0: when there is no room. (default: 0)")
    var keepLogsAge: String?

    @Option(help: "Snapshots go so long after they were taken; 0: when there is no room. (default: 0)")
    var snapshotAge: String?

    var flags: [HubConfiguration.Option: String] {
        var flags: [HubConfiguration.Option: String] = [:]
        flags[.keepPackets] = keepPackets
        flags[.keepMessages] = keepMessages
        flags[.keepCommands] = keepCommands
        flags[.keepAudit] = keepAudit
        flags[.keepAnswers] = keepAnswers
        flags[.keepDeployments] = keepDeployments
        flags[.keepEnrollments] = keepEnrollments
        flags[.keepResources] = keepResources
        flags[.retentionInterval] = retentionInterval
        flags[.keepLogsBytes] = keepLogsBytes
        flags[.keepLogsAge] = keepLogsAge
        flags[.snapshotAge] = snapshotAge
        return flags
    }
}

extension HubConfiguration.Option {
    /// The setting of a kind.
    static func keep(_ kind: RetentionKind) -> HubConfiguration.Option {
        switch kind {
        case .packets: .keepPackets
        case .messages: .keepMessages
        case .commands: .keepCommands
        case .audit: .keepAudit
        case .answers: .keepAnswers
        case .deployments: .keepDeployments
        case .enrollments: .keepEnrollments
        }
    }
}

extension RetentionLimits {
    /// Below these nothing sensible is left.
    private static let leastAge = Duration.seconds(60)
    private static let leastRows: Int64 = 10
    private static let leastBytes: Int64 = 64 << 10

    /// Reads `age=30d,bytes=5G,bot-rows=100000`; what is not named stays as it is, `off` lifts a limit. Throws `StartFailure`.
    mutating func read(_ text: String, of kind: RetentionKind) throws {
        let name = HubConfiguration.Option.keep(kind).rawValue
        var seen: Set<String> = []
        for part in text.split(separator: ",").map({ $0.filter { $0 != " " } }) {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard sides.count == 2 else { throw Self.unknown(part, kind) }
            let (key, value) = (sides[0], sides[1])
            guard seen.insert(key).inserted else {
                throw StartFailure(.configuration, "\(name): \(key) is given twice. Say it once.")
            }
            let owner = kind.ownerWord
            switch key {
            // What a repeated request is promised is not to be changed.
            case "age" where kind != .answers:
                age = try Self.off(value) ? nil : Self.duration(value, "\(name): age")
            case "rows": rows = try Self.off(value) ? nil : Self.rows(value, "\(name): rows")
            case "bytes": bytes = try Self.off(value) ? nil : Self.bytes(value, "\(name): bytes")
            case "\(owner)-rows": ownerRows = try Self.off(value) ? nil : Self.rows(value, "\(name): \(key)")
            case "\(owner)-bytes": ownerBytes = try Self.off(value) ? nil : Self.bytes(value, "\(name): \(key)")
            case "node-rows" where kind.comesFromNodes:
                nodeRows = try Self.off(value) ? nil : Self.rows(value, "\(name): \(key)")
            case "node-bytes" where kind.comesFromNodes:
                nodeBytes = try Self.off(value) ? nil : Self.bytes(value, "\(name): \(key)")
            default: throw Self.unknown(part, kind)
            }
        }
    }

    private static func off(_ value: String) -> Bool { value.lowercased() == "off" }

    private static func unknown(_ part: String, _ kind: RetentionKind) -> StartFailure {
        let owner = kind.ownerWord
        var known = kind == .answers ? [] : ["age=90d"]
        known += ["rows=1000000", "bytes=1G", "\(owner)-rows=10000", "\(owner)-bytes=64M"]
        if kind.comesFromNodes { known += ["node-rows=100000", "node-bytes=1G"] }
        return StartFailure(
            .configuration,
            "\(HubConfiguration.Option.keep(kind).rawValue): \"\(part)\" is none of \(known.joined(separator: ", "))."
        )
    }

    private static func duration(_ text: String, _ name: String) throws -> Duration {
        guard text.contains(where: { !$0.isNumber }) else {
            throw StartFailure(.configuration, "\(name) \"\(text)\" has no unit. Say \(text)d for days, or \(text)h.")
        }
        let age = try HubConfiguration.parseDuration(text, name: name)
        guard age >= leastAge else { throw StartFailure(.configuration, "\(name) must be at least 1m, or off.") }
        return age
    }

    private static func rows(_ text: String, _ name: String) throws -> Int64 {
        guard let number = Int64(decimal: text), number >= leastRows else {
            throw StartFailure(.configuration, "\(name) \"\(text)\" must be a whole number from \(leastRows), or off.")
        }
        return number
    }

    private static func bytes(_ text: String, _ name: String) throws -> Int64 {
        let bytes = Int64(clamping: try HubConfiguration.parseBytes(text, name: name))
        guard bytes >= leastBytes else { throw StartFailure(.configuration, "\(name) must be at least 64K, or off.") }
        return bytes
    }
}
