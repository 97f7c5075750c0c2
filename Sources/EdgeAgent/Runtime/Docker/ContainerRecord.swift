import FoundationEssentials
import Glibc

/// What the next agent must know about a launch in a container: `container.json` among the agent's files of the bot.
/// Written before the container is made, removed once its end stands in the log.
struct ContainerRecord: Codable, Sendable, Equatable {
    static let fileName = "container.json"

    var launchID: String
    var name: String
    /// Nil until the engine has answered.
    var containerID: String?
    /// Where in the bot's log this launch begins.
    var logOffset: UInt64
    var network: String

    enum CodingKeys: String, CodingKey {
        case launchID = "launch_id"
        case name
        case containerID = "container_id"
        case logOffset = "log_offset"
        case network
    }

    /// By which the engine knows the container.
    var reference: String { containerID ?? name }

    static func read(_ directory: BotDirectory) -> ContainerRecord? { read(directory.containerRecord) }

    static func read(_ path: String) -> ContainerRecord? {
        // A damaged file is as good as none: the labels tell the rest.
        guard let bytes = try? Files.read(path) else { return nil }
        return try? OutsideJSON.decode(Self.self, from: bytes)
    }

    func write(_ directory: BotDirectory) throws(RuntimeError) {
        do {
            try Files.replace(directory.containerRecord, with: Array(try JSONEncoder().encode(self)), mode: 0o600)
        } catch {
            throw .wrapping(error)
        }
    }
}

extension BotDirectory {
    var containerRecord: String { control + "/" + ContainerRecord.fileName }
    /// Since when a line has been unfinished, in milliseconds: its pieces are older than the last record of the log.
    var pendingLine: String { control + "/pending.line" }
    /// The home of a bot in a container: the rest of this directory is none of its business.
    var containerHome: String { path + "/home" }
}
