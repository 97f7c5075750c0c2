/// The credential as it is now: pairing again, beside a running agent, replaces it.
struct CredentialSource: Sendable {
    /// What the agent started with.
    let initial: Credential
    private let store: IdentityStore
    /// The token was given and does not come from the state directory, so nothing there replaces it.
    private let isGiven: Bool

    /// - Throws: `AgentError` where there is neither a token nor a pairing.
    init(_ configuration: AgentConfiguration, _ store: IdentityStore) throws(AgentError) {
        initial = try Credential(configuration, store)
        isGiven = configuration.token != nil
        self.store = store
    }

    /// The token and the node it is of. Reads a small file; call it before dialing, not for every message.
    var current: (token: Secret, nodeID: String) {
        // `try?`: an identity that cannot be read now, or is of another hub, changes nothing for the running agent.
        guard !isGiven, let identity = try? store.load(), identity.hubURL == initial.pairedHubURL else {
            return (initial.token, initial.nodeID)
        }
        return (identity.token, identity.nodeID)
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
        let stored = try store.authorityPath()
        self.init(
            configuration.hubURL ?? identity.hubURL,
            identity.token,
            identity,
            configuration.authorityFile ?? stored,
            configuration.pinSHA256 ?? identity.pinSHA256
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
