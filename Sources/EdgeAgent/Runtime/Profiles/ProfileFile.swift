import FoundationEssentials
import WireFormat

/// Reads runtime profiles: one JSON object, by name of the profile. See "Runtime profiles" in docs/operations.md.
///
/// Nothing is passed over: an unknown key, a wrong kind of value and an unreadable time are errors that name profile and
/// key, because a limit that was misspelt is a limit that is not kept.
enum ProfileFile {
    /// More is a mistake of whoever wrote the file.
    static let maximumProfiles = 100

    /// - Returns: the profiles in the order of their names.
    /// - Throws: `AgentError.configuration`.
    static func profiles(_ json: some Sequence<UInt8>, source: String) throws(AgentError) -> [RuntimeProfile] {
        let node: ProfileNode
        if let doubled = JSONFault.doubledName(Array(json)) {
            throw AgentError(.configuration, "\(source) says something twice, \(doubled)")
        }
        do {
            node = try OutsideJSON.decode(ProfileNode.self, from: Array(json))
        } catch {
            let fault = JSONFault.describe(Array(json)).map { ", \($0)" } ?? ""
            throw AgentError(.configuration, "\(source) is not JSON\(fault)")
        }
        guard case .object(let members) = node else {
            throw AgentError(.configuration, "\(source) must be one JSON object with a member for each profile")
        }
        guard members.count <= maximumProfiles else {
            throw AgentError(.configuration, "\(source) holds more than \(maximumProfiles) profiles")
        }
        // As it stands in the configuration file, where the profiles are one setting of many.
        if case .object(let inner)? = members["profiles"], members.count == 1, inner["command"] == nil,
            inner["image"] == nil
        {
            throw AgentError(
                .configuration,
                "\(source) has {\"profiles\": …} around the profiles, as the configuration file has; leave that out: the file is "
                    + "the object with a member for each profile"
            )
        }
        var profiles: [RuntimeProfile] = []
        for (name, member) in members.sorted(by: { $0.key < $1.key }) {
            do throws(ProfileMistake) {
                profiles.append(try ProfileReader(name, member).profile())
            } catch {
                throw AgentError(.configuration, "\(source), profile \"\(name.prefix(80))\": \(error.reason)")
            }
        }
        return profiles
    }
}

/// What is wrong with a profile; one line that names the key.
struct ProfileMistake: Error {
    let reason: String
}

/// A JSON value of a profile.
enum ProfileNode: Codable, Sendable, Equatable {
    case null
    case flag(Bool)
    case number(Double)
    case text(String)
    case list([ProfileNode])
    case object([String: ProfileNode])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let flag = try? container.decode(Bool.self) {
            self = .flag(flag)
        } else if let number = try? container.decode(Double.self) {
            self = .number(number)
        } else if let text = try? container.decode(String.self) {
            self = .text(text)
        } else if let list = try? container.decode([ProfileNode].self) {
            self = .list(list)
        } else {
            self = .object(try container.decode([String: ProfileNode].self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .flag(let flag): try container.encode(flag)
        case .number(let number): try container.encode(number)
        case .text(let text): try container.encode(text)
        case .list(let list): try container.encode(list)
        case .object(let members): try container.encode(members)
        }
    }
}
