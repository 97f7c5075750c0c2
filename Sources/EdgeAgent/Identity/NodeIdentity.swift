import FoundationEssentials
import Glibc

/// What pairing gave this node: which hub it belongs to and the credential that proves it.
struct NodeIdentity: Codable, Sendable, Equatable {
    /// Base URL of the hub as given at pairing, `https://…` or `wss://…`.
    var hubURL: String
    /// Empty where the agent was started with a token alone.
    var nodeID: String
    var nodeName: String
    var token: Secret
    /// Handed over by the hub and not proved yet; see ``CredentialSource``.
    var nextToken: Secret?
    /// SHA-256 of the hub's public key (SPKI), base64; nil where none was pinned.
    var pinSHA256: String?

    private enum CodingKeys: String, CodingKey {
        case hubURL = "hub_url"
        case nodeID = "node_id"
        case nodeName = "node_name"
        case token
        case nextToken = "next_token"
        case pinSHA256 = "pin_sha256"
    }
}

/// Reads and writes the identity in the state directory.
struct IdentityStore: Sendable {
    static let identityFile = "identity.json"
    static let authorityFile = "hub-ca.pem"

    let directory: StateDirectory

    /// The identity that an earlier pairing left, or nil.
    ///
    /// - Throws: `AgentError.identity` where the file is there and cannot be understood. It is left as it is.
    func load() throws(AgentError) -> NodeIdentity? {
        guard let bytes = try directory.read(Self.identityFile) else { return nil }
        do {
            return try OutsideJSON.decode(NodeIdentity.self, from: bytes)
        } catch {
            throw .identity(
                "\(directory.file(Self.identityFile)) is damaged; restore it from a backup, or pair again with "
                    + "`edge-agent enroll --again` and a code for this node (`control-hub enrollment create --node NAME`)"
            )
        }
    }

    /// Stores identity and authority so that a crash leaves the old pair or the new one: the authority is only ever
    /// used together with an identity, which is written last.
    func save(_ identity: NodeIdentity, authorityPEM: [UInt8]?) throws(AgentError) {
        if let authorityPEM {
            try directory.write(Self.authorityFile, authorityPEM)
        } else {
            directory.remove(Self.authorityFile)
        }
        try update(identity)
    }

    /// Replaces the identity alone.
    func update(_ identity: NodeIdentity) throws(AgentError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        do {
            try directory.write(Self.identityFile, Array(try encoder.encode(identity)))
        } catch let error as AgentError {
            throw error
        } catch {
            throw .identity("the identity cannot be encoded: \(error)")
        }
    }

    /// Tells one writing of the identity from the next; nil where there is none. One `stat`.
    struct Stamp: Equatable, Sendable {
        let file: UInt64
        let seconds: Int
        let nanoseconds: Int
    }

    var stamp: Stamp? {
        var status = Glibc.stat()
        guard stat(directory.file(Self.identityFile), &status) == 0 else { return nil }
        return Stamp(
            file: UInt64(clamping: status.st_ino),
            seconds: status.st_mtim.tv_sec,
            nanoseconds: status.st_mtim.tv_nsec
        )
    }

    /// The authority that was stored at pairing; nil where none was.
    func authority() throws(AgentError) -> [UInt8]? { try directory.read(Self.authorityFile) }

    /// Path of the stored authority, or nil where pairing stored none.
    func authorityPath() throws(AgentError) -> String? {
        try directory.read(Self.authorityFile) == nil ? nil : directory.file(Self.authorityFile)
    }
}
