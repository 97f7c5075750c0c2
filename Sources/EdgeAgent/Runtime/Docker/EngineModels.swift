import WireFormat

/// The parts of the Docker Engine API's documents that are used here. What an engine leaves out is nil: engines differ.
enum EngineModels {
    /// `GET /version`
    struct Version: Decodable, Sendable, Equatable {
        var engine: String?
        var apiVersion: String
        var minimumAPIVersion: String?

        enum CodingKeys: String, CodingKey {
            case engine = "Version"
            case apiVersion = "ApiVersion"
            case minimumAPIVersion = "MinAPIVersion"
        }
    }

    /// `GET /info`
    struct Info: Decodable, Sendable, Equatable {
        var memoryLimit: Bool?
        var cpuCfsQuota: Bool?
        var pidsLimit: Bool?
        var cgroupVersion: String?

        enum CodingKeys: String, CodingKey {
            case memoryLimit = "MemoryLimit"
            case cpuCfsQuota = "CpuCfsQuota"
            case pidsLimit = "PidsLimit"
            case cgroupVersion = "CgroupVersion"
        }
    }

    /// `GET /images/{name}/json`
    struct Image: Decodable, Sendable {
        var id: String

        enum CodingKeys: String, CodingKey {
            case id = "Id"
        }
    }

    /// Answer of `POST /containers/create`
    struct Created: Decodable, Sendable {
        var id: String
        var warnings: [String]?

        enum CodingKeys: String, CodingKey {
            case id = "Id"
            case warnings = "Warnings"
        }
    }

    /// `GET /containers/{id}/json`
    struct Container: Decodable, Sendable {
        var id: String
        var state: State
        var config: Config?

        struct State: Decodable, Sendable {
            /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`
            var status: String?
            var running: Bool
            var isPaused: Bool { status == "paused" }
            var oomKilled: Bool?
            var pid: Int32?
            var exitCode: Int32?
            var error: String?
            var startedAt: String?
            var finishedAt: String?

            enum CodingKeys: String, CodingKey {
                case status = "Status"
                case running = "Running"
                case oomKilled = "OOMKilled"
                case pid = "Pid"
                case exitCode = "ExitCode"
                case error = "Error"
                case startedAt = "StartedAt"
                case finishedAt = "FinishedAt"
            }
        }

        struct Config: Decodable, Sendable {
            var env: [String]?
            var labels: [String: String]?

            enum CodingKeys: String, CodingKey {
                case env = "Env"
                case labels = "Labels"
            }
        }

        enum CodingKeys: String, CodingKey {
            case id = "Id"
            case state = "State"
            case config = "Config"
        }
    }

    /// One of `GET /containers/json`
    struct Listed: Decodable, Sendable {
        var id: String
        /// As in `Container.State.status`.
        var state: String
        var labels: [String: String]?

        enum CodingKeys: String, CodingKey {
            case id = "Id"
            case state = "State"
            case labels = "Labels"
        }
    }

    /// The body of an answer that refuses.
    struct Refusal: Decodable, Sendable {
        var message: String
    }
}

/// A version of the API, such as 1.41.
struct EngineAPIVersion: Sendable, Comparable, CustomStringConvertible {
    var major: Int
    var minor: Int

    /// The oldest that has all that is used (`Init` of 1.25), and the newest whose changes were looked at.
    static let supported = EngineAPIVersion(1, 25)...EngineAPIVersion(1, 48)

    init(_ major: Int, _ minor: Int) {
        (self.major, self.minor) = (major, minor)
    }

    init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let major = Int(decimal: parts[0]), let minor = Int(decimal: parts[1]) else {
            return nil
        }
        self.init(major, minor)
    }

    var description: String { "\(major).\(minor)" }

    static func < (left: Self, right: Self) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }

    /// The newest version both sides know.
    ///
    /// - Throws: `EngineError.refused` that says which side is too old.
    static func negotiate(with engine: EngineModels.Version) throws(EngineError) -> EngineAPIVersion {
        guard let newest = EngineAPIVersion(engine.apiVersion) else {
            throw .broken(
                "what answers there is no Docker Engine: it calls its API version \"\(engine.apiVersion.prefix(40))\""
            )
        }
        let oldest = engine.minimumAPIVersion.flatMap { EngineAPIVersion($0) } ?? newest
        guard newest >= supported.lowerBound else {
            throw .refused(
                status: 400,
                "the container engine speaks API \(newest) and the agent needs \(supported.lowerBound) at least; upgrade Docker"
            )
        }
        guard oldest <= supported.upperBound else {
            throw .refused(
                status: 400,
                "the container engine takes API \(oldest) and later and this agent speaks \(supported.upperBound) at most; "
                    + "upgrade the agent"
            )
        }
        return min(newest, supported.upperBound)
    }
}
