import Synchronization

/// The credential as it is now: pairing again beside a running agent replaces it, and the hub may hand over a new token.
///
/// A new token from the hub stands beside the old one (`next_token` in the identity) until a session has proved it:
///
/// ```
/// old ──storeNext──► old, next ──accepted(next)──► next becomes the token
///                        └──────refused(next)────► old
/// ```
/// After a crash in between the next one is tried first. It is on disk before it is used, and the hub withdraws the old
/// one only when it sees the next one in use, so at least one of the two is good at any time.
final class CredentialSource: Sendable {
    /// What the agent started with.
    let initial: Credential
    private let store: IdentityStore
    /// The token was given and does not come from the state directory, so nothing there replaces it.
    private let isGiven: Bool
    private let configuration: AgentConfiguration
    private let known: Mutex<Known>

    /// The pairing as it was read last.
    private struct Known {
        var stamp: IdentityStore.Stamp?
        var identity: NodeIdentity?
        var place: HubPlace
    }
    /// A next token that the hub refused, for when the disk would not let it go. Also keeps changes of the file apart.
    private let refusedNext = Mutex<Secret?>(nil)

    /// - Throws: `AgentError` where there is neither a token nor a pairing.
    init(_ configuration: AgentConfiguration, _ store: IdentityStore) throws(AgentError) {
        initial = try Credential(configuration, store)
        isGiven = configuration.token != nil
        self.configuration = configuration
        self.store = store
        known = Mutex(Known(place: initial.place))
    }

    /// Where to dial. Another one once the node was paired with another hub beside this agent; cheap where nothing was.
    var place: HubPlace {
        guard !isGiven else { return initial.place }
        return known.withLock { known in
            let stamp = store.stamp
            guard stamp != known.stamp else { return known.place }
            // `try?`: a pairing that cannot be read now changes nothing, and is read again.
            guard let identity = try? store.load(), let new = try? Credential(configuration, identity, store) else {
                return known.place
            }
            known = Known(stamp: stamp, identity: identity, place: isForeign(identity) ? known.place : new.place)
            return known.place
        }
    }

    /// The settings name the hub, and the node was paired with another since: its token must not come to the one that they name.
    private func isForeign(_ identity: NodeIdentity) -> Bool {
        configuration.hubURL != nil && identity.hubURL != initial.pairedHubURL
    }

    /// The hub with which the node was paired although the settings name another one, so that they win; nil where that is not so.
    var overruledHub: String? {
        guard !isGiven, let identity = try? store.load(), isForeign(identity) else { return nil }
        return identity.hubURL
    }

    /// The token to dial with and the node it is of. Reads a small file; call it before dialing, not for every message.
    var current: (token: Secret, nodeID: String) {
        refusedNext.withLock { refused in
            // What was read before, where it cannot be read now.
            guard let identity = identity() ?? known.withLock(\.identity).flatMap({ isForeign($0) ? nil : $0 }) else {
                return (initial.token, initial.nodeID)
            }
            if let next = identity.nextToken, next != refused { return (next, identity.nodeID) }
            return (identity.token, identity.nodeID)
        }
    }

    /// The token for a hub; nil where the node was paired with another one in this moment: no hub is shown another's token.
    func token(at place: HubPlace) -> Secret? {
        let token = current.token
        // Read after the token, so that a pairing in between is seen.
        return self.place.isSame(as: place) ? token : nil
    }

    /// Keeps a new token beside the present one.
    ///
    /// - Throws: `AgentError` where it cannot be kept; nothing has changed then.
    func storeNext(_ token: Secret) throws(AgentError) {
        let text = token.reveal().utf8
        guard (16...256).contains(text.count), text.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw AgentError(.dataError, "the new token is none: 16 to 256 visible ASCII characters are expected")
        }
        guard !isGiven else {
            throw AgentError(
                .configuration,
                "this agent was given its token by flag, variable or token file and cannot replace it there; make a new token "
                    + "with `control-hub node create`, or pair the node with `edge-agent enroll --again`"
            )
        }
        let problem = refusedNext.withLock { refused -> AgentError? in
            do throws(AgentError) {
                guard var identity = identity() else {
                    throw AgentError(.configuration, "this node's identity cannot be read; pair it again")
                }
                identity.nextToken = token
                try store.update(identity)
                refused = nil
                return nil
            } catch {
                return error
            }
        }
        if let problem { throw problem }
    }

    /// The hub has accepted a session with this token.
    ///
    /// - Returns: whether it was a new one, which now is the only one.
    /// - Throws: `AgentError` where that could not be written; both are kept then, and the new one is tried first.
    func accepted(_ token: Secret) throws(AgentError) -> Bool {
        let outcome = refusedNext.withLock { _ -> Result<Bool, AgentError> in
            guard var identity = identity(), identity.nextToken == token else { return .success(false) }
            identity.token = token
            identity.nextToken = nil
            do throws(AgentError) {
                try store.update(identity)
                return .success(true)
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }

    /// The hub has refused a session with this token.
    ///
    /// - Returns: whether it was a new one that had not been proved, so that the old one is to be tried now.
    func refused(_ token: Secret) -> Bool {
        refusedNext.withLock { refused in
            guard var identity = identity(), identity.nextToken == token, refused != token else { return false }
            refused = token
            identity.nextToken = nil
            // `try?`: where it stays on disk it is not taken again while this agent runs, and once after the next start.
            try? store.update(identity)
            return true
        }
    }

    /// Nil where the token was given, or the file cannot be read now, or is of a hub that is not dialed: nothing changes for
    /// the running agent then.
    private func identity() -> NodeIdentity? {
        // `try?`: see above.
        guard !isGiven, let identity = try? store.load(), !isForeign(identity) else { return nil }
        return identity
    }
}

/// Which hub to dial and what to prove ourselves with: from the settings, else from an earlier pairing.
struct Credential: Sendable {
    let hubURL: String
    let token: Secret
    /// Empty where the token alone says which node this is.
    let nodeID: String
    /// What people call the node; empty where the token was given.
    let nodeName: String
    /// The hub named at pairing; empty where the token was given.
    let pairedHubURL: String
    let authorityFile: String?
    let pinSHA256: String?
    /// As it was kept at pairing.
    private(set) var authority: [UInt8] = []

    /// - Throws: `AgentError` where there is neither a token nor a pairing.
    init(_ configuration: AgentConfiguration, _ store: IdentityStore) throws(AgentError) {
        if let token = configuration.token {
            guard let hubURL = configuration.hubURL else {
                throw AgentError(.usage, "a token was given but no hub; give its URL with --hub or EDGE_HUB_URL")
            }
            self.init(hubURL, token, nil, configuration.authorityFile, configuration.pinSHA256)
            return
        }
        guard let identity = try store.load() else {
            throw AgentError(
                .configuration,
                "this node is not paired yet; run `edge-agent enroll --hub URL --code CODE`, or give --hub and EDGE_TOKEN"
            )
        }
        try self.init(configuration, identity, store)
    }

    /// Of a pairing, as far as the settings say nothing else.
    fileprivate init(
        _ configuration: AgentConfiguration,
        _ identity: NodeIdentity,
        _ store: IdentityStore
    ) throws(AgentError) {
        let stored = try store.authorityPath()
        self.init(
            configuration.hubURL ?? identity.hubURL,
            identity.nextToken ?? identity.token,
            identity,
            configuration.authorityFile ?? stored,
            configuration.pinSHA256 ?? identity.pinSHA256
        )
        authority = configuration.authorityFile == nil ? try store.authority() ?? [] : []
    }

    var place: HubPlace {
        HubPlace(
            url: hubURL,
            authorityFile: authorityFile,
            authority: authority,
            pinSHA256: pinSHA256,
            nodeID: nodeID,
            nodeName: nodeName
        )
    }

    private init(
        _ hubURL: String,
        _ token: Secret,
        _ identity: NodeIdentity?,
        _ authorityFile: String?,
        _ pinSHA256: String?
    ) {
        self.hubURL = hubURL
        self.token = token
        nodeID = identity?.nodeID ?? ""
        nodeName = identity?.nodeName ?? ""
        pairedHubURL = identity?.hubURL ?? ""
        self.authorityFile = authorityFile
        self.pinSHA256 = pinSHA256
    }
}
