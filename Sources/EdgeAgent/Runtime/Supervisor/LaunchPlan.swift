import Glibc
import WireFormat

/// What a supervisor is to run: `launch.plan` among the agent's files of the bot, written by the agent, mode 0600.
///
/// The file is a list of fields, each `key=value` and a zero byte, which none of the values can hold: a reader of a few
/// lines is enough, and a supervisor has no JSON decoder in its memory. Unknown keys are passed over, and a missing one
/// has its default, so that a supervisor may be older or newer than the agent that wrote its plan.
struct LaunchPlan: Sendable, Equatable {
    static let fileName = "launch.plan"

    /// Random, names this launch.
    var launchID = ""
    /// The profile's name and the placement's epoch, for an agent that has lost its records.
    var profile = ""
    var placementEpoch: UInt64 = 0
    /// Of the launch; the agent alone asks.
    var backend = BackendKind.native
    /// Absolute path of the program.
    var executable = ""
    var arguments: [String] = []
    var workingDirectory = ""
    /// The whole environment of the bot, also the token of its chat endpoint.
    var environment: [String: String] = [:]
    /// A stdout line that begins with this is a monitor packet.
    var packetPrefix = ""
    /// A FIFO that becomes the bot's standard input; empty for `/dev/null`.
    var input = ""
    /// Nil for the supervisor's own user.
    var user: BotUser?
    /// Where the bot may go; nil: wherever its user may.
    var cage: Cage?
    var limits = ResourceLimits()
    /// Control groups to make for the launch, see `ControlGroupLayout`.
    var controlGroups: [String: String] = [:]
    /// Why these keep no limits of version 2, see `ControlGroupLayout`; empty where they do.
    var controlGroupShortfall = ""
    /// How the bot is asked to stop, unless the request says otherwise.
    var stop = StopSequence()
    var logLimits = LogSegmentWriter.Limits()
    /// On trial: the launch ends with its lease, see `RuntimeLease`.
    var isLeased = false
}

extension LaunchPlan {
    /// The file's content. A name or value with a zero byte in it could not be given to a program anyway; it is cut there.
    var encoded: [UInt8] {
        var fields = PlanFields()
        fields.add("launch_id", launchID)
        fields.add("profile", profile)
        fields.add("placement_epoch", String(placementEpoch))
        if backend != .native { fields.add("backend", backend.rawValue) }
        fields.add("executable", executable)
        for argument in arguments { fields.add("argument", argument) }
        fields.add("directory", workingDirectory)
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) {
            fields.add("environment", "\(name)=\(value)")
        }
        fields.add("packet_prefix", packetPrefix)
        if !input.isEmpty { fields.add("input", input) }
        if let user {
            fields.add("user", ([user.uid, user.gid] + user.groups).map { String($0) }.joined(separator: ":"))
        }
        cage?.write(to: &fields)
        for (name, limit) in Self.limitFields {
            if let value = limits[keyPath: limit] { fields.add(name, String(value)) }
        }
        for (hierarchy, path) in controlGroups.sorted(by: { $0.key < $1.key }) {
            fields.add("control_group", "\(hierarchy)=\(path)")
        }
        if !controlGroupShortfall.isEmpty { fields.add("control_group_shortfall", controlGroupShortfall) }
        fields.add("stop", stop.encoded)
        if isLeased { fields.add("lease", "1") }
        fields.add("segment_bytes", String(logLimits.segmentBytes))
        fields.add("segment_count", String(logLimits.segmentCount))
        fields.add("log_max_age_s", String(logLimits.maximumAgeSeconds))
        return fields.bytes
    }

    /// Reads a file's content; nil where it is no whole plan.
    init?(_ bytes: [UInt8]) {
        guard let fields = PlanFields.read(bytes) else { return nil }
        for (key, value) in fields {
            switch key {
            case "launch_id": launchID = value
            case "profile": profile = value
            case "placement_epoch": placementEpoch = UInt64(decimal: value) ?? 0
            case "backend": backend = BackendKind(rawValue: value) ?? backend
            case "executable": executable = value
            case "argument": arguments.append(value)
            case "directory": workingDirectory = value
            case "environment":
                guard let (name, value) = PlanFields.pair(value) else { return nil }
                environment[name] = value
            case "user":
                let numbers = value.split(separator: ":").map { uid_t(decimal: $0) ?? .max }
                // Never as the supervisor's own user by mistake.
                guard numbers.count >= 2, !numbers.contains(.max) else { return nil }
                user = BotUser(uid: numbers[0], gid: numbers[1], groups: Array(numbers[2...]))
            case "control_group":
                guard let (hierarchy, path) = PlanFields.pair(value) else { return nil }
                controlGroups[hierarchy] = path
            case "control_group_shortfall": controlGroupShortfall = value
            case "packet_prefix": packetPrefix = value
            case "input": input = value
            case "stop": stop = StopSequence(encoded: value) ?? stop
            case "lease": isLeased = value == "1"
            case "segment_bytes": logLimits.segmentBytes = Int(decimal: value) ?? logLimits.segmentBytes
            case "segment_count": logLimits.segmentCount = Int(decimal: value) ?? logLimits.segmentCount
            case "log_max_age_s": logLimits.maximumAgeSeconds = Int(decimal: value) ?? logLimits.maximumAgeSeconds
            default:
                if Cage.take(key, value, into: &cage) { continue }
                if let limit = Self.limitFields[key] { limits[keyPath: limit] = UInt64(decimal: value) }
            }
        }
        guard !launchID.isEmpty, !executable.isEmpty, !arguments.isEmpty else { return nil }
    }

    private static var limitFields: [String: WritableKeyPath<ResourceLimits, UInt64?>] {
        [
            "limit_memory_bytes": \.memoryBytes, "limit_cpu_milli": \.cpuMilli, "limit_pids": \.pids,
            "limit_open_files": \.openFiles,
        ]
    }
}

/// The format of `launch.plan`: `key=value` and a zero byte, again and again. The last field is `end=`, so that a file
/// cut short is told from a whole one.
struct PlanFields {
    private(set) var content: [UInt8] = []

    var bytes: [UInt8] { content + Array("end=".utf8) + [0] }

    mutating func add(_ key: String, _ value: String) {
        content += key.utf8
        content.append(UInt8(ascii: "="))
        content += value.utf8.prefix { $0 != 0 }
        content.append(0)
    }

    /// Splits `name=value`; nil where there is no `=`.
    static func pair(_ text: String) -> (String, String)? {
        guard let equals = text.utf8.firstIndex(of: UInt8(ascii: "=")) else { return nil }
        return (String(text[..<equals]), String(text[text.utf8.index(after: equals)...]))
    }

    static func read(_ bytes: [UInt8]) -> [(key: String, value: String)]? {
        var fields: [(String, String)] = []
        for field in bytes.split(separator: 0) {
            guard let equals = field.firstIndex(of: UInt8(ascii: "=")) else { return nil }
            fields.append(
                (
                    String(decoding: field[..<equals], as: UTF8.self),
                    String(decoding: field[(equals + 1)...], as: UTF8.self)
                )
            )
        }
        guard fields.last?.0 == "end" else { return nil }
        return fields.dropLast()
    }
}

extension StopSequence {
    /// `15:10000,2:5000`: signal numbers and milliseconds.
    var encoded: String {
        steps.map { "\($0.signal):\($0.milliseconds)" }.joined(separator: ",")
    }

    init?(encoded text: String) {
        var steps: [Step] = []
        for part in text.split(separator: ",") {
            let numbers = part.split(separator: ":")
            guard numbers.count == 2, let signal = Int32(decimal: numbers[0]),
                let milliseconds = UInt64(decimal: numbers[1])
            else {
                return nil
            }
            steps.append(Step(signal: signal, milliseconds: milliseconds))
        }
        self.steps = steps
    }
}
