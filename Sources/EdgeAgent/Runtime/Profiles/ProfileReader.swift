import WireFormat

/// Makes one profile of its JSON object, key by key.
struct ProfileReader {
    private enum Key: String, CaseIterable {
        case backend
        case command
        case environment
        case user
        case isolation
        case limits
        case restart
        case stop
        case readyTimeout = "ready_timeout"
        case packets
        case settleTime = "settle_time"
        case delivery
        case turnLimit = "turn_limit"
        case liveness
        case engine
        case engineVersion = "engine_version"
        case log
    }

    private let name: String
    private var members: [Key: ProfileNode] = [:]
    private var containerMembers: [ContainerReader.Key: ProfileNode] = [:]

    init(_ name: String, _ node: ProfileNode) throws(ProfileMistake) {
        guard Self.isName(name) else {
            throw ProfileMistake(reason: "a profile's name is 1 to 64 of A-Z a-z 0-9 _ . -")
        }
        guard case .object(let given) = node else { throw ProfileMistake(reason: "must be a JSON object") }
        self.name = name
        for (text, value) in given {
            if let key = ContainerReader.Key(rawValue: text) {
                if value != .null { containerMembers[key] = value }
                continue
            }
            guard let key = Key(rawValue: text) else {
                throw Self.unknown(text, Key.allCases.map(\.rawValue) + ContainerReader.Key.allCases.map(\.rawValue))
            }
            if value != .null { members[key] = value }
        }
    }

    func profile() throws(ProfileMistake) -> RuntimeProfile {
        var profile = RuntimeProfile(name: name, command: CommandTemplate(words: []))
        if let value = members[.backend] { profile.backend = try Self.choice(value, "backend") }
        if let command = members[.command] {
            profile.command = try Self.command(command)
        } else if profile.backend == .native {
            throw ProfileMistake(reason: "\"command\" is missing: the launch command, as one text or a list of words")
        }
        if profile.backend == .docker {
            profile.container = try ContainerReader(containerMembers).settings()
        } else if let key = containerMembers.keys.first {
            throw ProfileMistake(reason: "\"\(key.rawValue)\" has a meaning with \"backend\": \"docker\" alone")
        }
        if let value = members[.environment] { profile.environment = try Self.environment(value) }
        if let value = members[.user] { profile.user = try Self.text(value, "user") }
        if let value = members[.isolation] {
            guard profile.backend == .native else {
                throw ProfileMistake(
                    reason: "\"isolation\" has a meaning with \"backend\": \"native\" alone: a container is its own"
                )
            }
            profile.isolation = try Self.isolation(value)
        }
        if let value = members[.limits] { profile.limits = try Self.limits(value) }
        if let value = members[.restart] { profile.restart = try Self.choice(value, "restart") }
        if let value = members[.stop] { profile.stop = try Self.stop(value) }
        if let value = members[.readyTimeout] { profile.readyTimeout = try Self.duration(value, "ready_timeout") }
        if let value = members[.packets] { profile.speaksPackets = try Self.flag(value, "packets") }
        if let value = members[.settleTime] { profile.settleTime = try Self.duration(value, "settle_time") }
        if let value = members[.delivery] { profile.delivery = try Self.choice(value, "delivery") }
        if let value = members[.turnLimit] { profile.turnLimit = try Self.turnLimit(value) }
        if let value = members[.liveness] { profile.liveness = try Self.liveness(value) }
        if let value = members[.engine] { profile.engine = try Self.text(value, "engine") }
        if let value = members[.engineVersion] { profile.engineVersion = try Self.text(value, "engine_version") }
        if let value = members[.log] { profile.logLimits = try Self.log(value) }
        guard profile.backend == .native || profile.delivery == .http else {
            throw ProfileMistake(reason: "\"delivery\": a bot in a container takes messages over HTTP alone")
        }
        guard profile.speaksPackets || members[.readyTimeout] == nil else {
            throw ProfileMistake(
                reason: "\"ready_timeout\" has no meaning with \"packets\": false; use \"settle_time\""
            )
        }
        return profile
    }

    // MARK: Keys

    private static func command(_ value: ProfileNode) throws(ProfileMistake) -> CommandTemplate {
        switch value {
        case .text(let line):
            do throws(RuntimeError) {
                return try CommandTemplate(parsing: line)
            } catch {
                throw ProfileMistake(reason: "\"command\": \(error.message)")
            }
        case .list(let list):
            var words: [String] = []
            for item in list { words.append(try text(item, "command")) }
            guard let program = words.first, !program.isEmpty else {
                throw ProfileMistake(reason: "\"command\" is empty")
            }
            return CommandTemplate(words: words)
        default:
            throw ProfileMistake(reason: "\"command\" must be one text or a list of words")
        }
    }

    private static func environment(_ value: ProfileNode) throws(ProfileMistake) -> [String: String] {
        guard case .object(let members) = value else {
            throw ProfileMistake(reason: "\"environment\" must be an object of names and texts")
        }
        var environment: [String: String] = [:]
        for (name, value) in members {
            guard !name.isEmpty, !name.utf8.contains(where: { $0 == UInt8(ascii: "=") || $0 == 0 }) else {
                throw ProfileMistake(reason: "\"environment\": \"\(name)\" is no name of a variable")
            }
            guard !name.hasPrefix("BOT_") else {
                throw ProfileMistake(reason: "\"environment\": \(name) is the agent's to set")
            }
            let text = try text(value, "environment.\(name)")
            guard !text.utf8.contains(0) else {
                throw ProfileMistake(reason: "\"environment.\(name)\" holds a zero byte")
            }
            environment[name] = text
        }
        return environment
    }

    private static func limits(_ value: ProfileNode) throws(ProfileMistake) -> ResourceLimits {
        var limits = ResourceLimits()
        for (key, value) in try object(value, "limits", known: ["memory", "cpu", "pids", "open_files"]) {
            switch key {
            case "memory": limits.memoryBytes = try bytes(value, "limits.memory")
            case "cpu":
                guard case .number(let cores) = value, cores >= 0.01, cores <= 1_000 else {
                    throw ProfileMistake(reason: "\"limits.cpu\" must be a number of cores, such as 1.5")
                }
                limits.cpuMilli = UInt64(saturating: (cores * 1_000).rounded())
            case "pids": limits.pids = UInt64(clamping: try count(value, "limits.pids", in: 1...4_194_304))
            default: limits.openFiles = UInt64(clamping: try count(value, "limits.open_files", in: 8...1_048_576))
            }
        }
        return limits
    }

    private static func isolation(_ value: ProfileNode) throws(ProfileMistake) -> BotIsolation {
        if case .flag(let isOn) = value { return BotIsolation(isOn: isOn) }
        var isolation = BotIsolation()
        for (key, value) in try object(value, "isolation", known: ["read", "write", "unix_sockets"]) {
            switch key {
            case "unix_sockets": isolation.opensUnixSockets = try flag(value, "isolation.unix_sockets")
            case "read": isolation.readable = try places(value, "isolation.read")
            default: isolation.writable = try places(value, "isolation.write")
            }
        }
        return isolation
    }

    private static func places(_ value: ProfileNode, _ key: String) throws(ProfileMistake) -> [String] {
        guard case .list(let list) = value else { throw ProfileMistake(reason: "\"\(key)\" must be a list of paths") }
        var places: [String] = []
        for item in list {
            let place = try text(item, key)
            guard PathText.isPlainAbsolute(place) else {
                throw ProfileMistake(
                    reason:
                        "\"\(key)\": \"\(place.prefix(200))\" must be an absolute path without \"..\" and without a slash at its end"
                )
            }
            places.append(place)
        }
        return places
    }

    private static func stop(_ value: ProfileNode) throws(ProfileMistake) -> StopSequence {
        let line = try text(value, "stop")
        do throws(RuntimeError) {
            return try StopSequence(parsing: line)
        } catch {
            throw ProfileMistake(reason: "\"stop\": \(error.message)")
        }
    }

    private static func liveness(_ value: ProfileNode) throws(ProfileMistake) -> LivenessCheck? {
        if value == .flag(false) { return nil }
        var check = LivenessCheck()
        for (key, value) in try object(value, "liveness", known: ["interval", "failures", "restarts"]) {
            switch key {
            case "interval": check.interval = try duration(value, "liveness.interval")
            case "failures": check.failures = try count(value, "liveness.failures", in: 1...1_000)
            default: check.restarts = try flag(value, "liveness.restarts")
            }
        }
        return check
    }

    private static func turnLimit(_ value: ProfileNode) throws(ProfileMistake) -> Duration {
        if value == .flag(false) { return .zero }
        let limit = try duration(value, "turn_limit")
        guard limit >= .seconds(1) else {
            throw ProfileMistake(
                reason: "\"turn_limit\" must be at least a second, or false: turns that a bot is silent about never end"
            )
        }
        return limit
    }

    private static func log(_ value: ProfileNode) throws(ProfileMistake) -> LogSegmentWriter.Limits {
        var limits = LogSegmentWriter.Limits()
        for (key, value) in try object(value, "log", known: ["max_age", "segment_size", "segments"]) {
            if key == "max_age" {
                limits.maximumAgeSeconds = try age(value, "log.max_age")
            } else if key == "segment_size" {
                // A line has up to 1 MiB.
                let size = try bytes(value, "log.segment_size")
                guard size >= 2 << 20, size <= 1 << 30 else {
                    throw ProfileMistake(reason: "\"log.segment_size\" must be between 2M and 1G")
                }
                limits.segmentBytes = Int(clamping: size)
            } else {
                limits.segmentCount = try count(value, "log.segments", in: 2...1_000)
            }
        }
        return limits
    }

    // MARK: Kinds of values

    private static func object(
        _ value: ProfileNode,
        _ key: String,
        known: [String]
    ) throws(ProfileMistake) -> [(String, ProfileNode)] {
        guard case .object(let members) = value else { throw ProfileMistake(reason: "\"\(key)\" must be an object") }
        for name in members.keys where !known.contains(name) { throw unknown("\(key).\(name)", known) }
        return members.filter { $0.value != .null }.sorted { $0.key < $1.key }
    }

    static func text(_ value: ProfileNode, _ key: String) throws(ProfileMistake) -> String {
        guard case .text(let text) = value else { throw ProfileMistake(reason: "\"\(key)\" must be a text") }
        return text
    }

    static func flag(_ value: ProfileNode, _ key: String) throws(ProfileMistake) -> Bool {
        guard case .flag(let flag) = value else { throw ProfileMistake(reason: "\"\(key)\" must be true or false") }
        return flag
    }

    private static func count(_ value: ProfileNode, _ key: String, in range: ClosedRange<Int>) throws(ProfileMistake)
        -> Int
    {
        guard case .number(let number) = value, let whole = Int(exactly: number), range.contains(whole) else {
            throw ProfileMistake(
                reason: "\"\(key)\" must be a whole number from \(range.lowerBound) to \(range.upperBound)"
            )
        }
        return whole
    }

    static func choice<Value: RawRepresentable & CaseIterable>(
        _ value: ProfileNode,
        _ key: String
    ) throws(ProfileMistake) -> Value where Value.RawValue == String {
        guard case .text(let text) = value, let choice = Value(rawValue: text) else {
            let known = Value.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            throw ProfileMistake(reason: "\"\(key)\" must be one of \(known)")
        }
        return choice
    }

    /// Whole seconds: `12h`, `30d`, `90m`; a minute to ten years.
    private static func age(_ value: ProfileNode, _ key: String) throws(ProfileMistake) -> Int {
        if case .text(let text) = value, let unit = text.last, let number = Int(decimal: text.dropLast()),
            let factor = ["m": 60, "h": 3_600, "d": 86_400][unit], (1...(3_650 * 86_400 / factor)).contains(number)
        {
            return number * factor
        }
        throw ProfileMistake(reason: "\"\(key)\" must be an age such as \"90m\", \"12h\" or \"30d\", at most ten years")
    }

    /// `500ms`, `10s`, `5m`, or a number of seconds; up to a day.
    private static func duration(_ value: ProfileNode, _ key: String) throws(ProfileMistake) -> Duration {
        var milliseconds: Double?
        switch value {
        case .number(let seconds): milliseconds = seconds * 1_000
        case .text(let text):
            for (unit, factor) in [("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0)] where text.hasSuffix(unit) {
                milliseconds = Double(text.dropLast(unit.count)).map { $0 * factor }
                break
            }
        default: break
        }
        guard let milliseconds, milliseconds >= 0, milliseconds <= 86_400_000 else {
            throw ProfileMistake(
                reason: "\"\(key)\" must be a time such as \"500ms\", \"10s\" or \"5m\", at most a day"
            )
        }
        return .milliseconds(clamping: Int64(saturating: milliseconds))
    }

    /// `512M`, `2G`, or a number of bytes.
    static func bytes(_ value: ProfileNode, _ key: String) throws(ProfileMistake) -> UInt64 {
        var size: Double?
        switch value {
        case .number(let number): size = number
        case .text(let text):
            let units: [Character: Double] = ["K": 1_024, "M": 1_048_576, "G": 1_073_741_824, "T": 1_099_511_627_776]
            let factor = text.last.flatMap { units[$0] }
            size = Double(factor == nil ? text : String(text.dropLast())).map { $0 * (factor ?? 1) }
        default: break
        }
        guard let size, size >= 1, size <= 9e15 else {
            throw ProfileMistake(reason: "\"\(key)\" must be a size such as \"512M\" or \"2G\", or a number of bytes")
        }
        return UInt64(saturating: size)
    }

    private static func unknown(_ key: String, _ known: [String]) -> ProfileMistake {
        ProfileMistake(reason: "unknown key \"\(key.prefix(80))\"; known: \(known.joined(separator: ", "))")
    }

    private static func isName(_ name: String) -> Bool {
        (1...64).contains(name.utf8.count)
            && name.utf8.allSatisfy {
                ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x41 && $0 <= 0x5A) || ($0 >= 0x61 && $0 <= 0x7A)
                    || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
            }
    }
}
