/// Which hub to dial and what to prove ourselves with: from the settings, else from an earlier pairing.
struct Credential: Sendable {
    let hubURL: String
    let token: Secret
    /// Empty where the token alone says which node this is.
    let nodeID: String
    let authorityFile: String?
    let pinSHA256: String?

    /// - Throws: `AgentError` where there is neither a token nor a pairing.
    init(_ configuration: AgentConfiguration, _ store: IdentityStore) throws(AgentError) {
        if let token = configuration.token {
            guard let hubURL = configuration.hubURL else {
                throw AgentError(.usage, "a token was given but no hub; give its URL with --hub or EDGE_HUB_URL")
            }
            self.init(hubURL, token, nodeID: "", configuration.authorityFile, configuration.pinSHA256)
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
            nodeID: identity.nodeID,
            configuration.authorityFile ?? stored,
            configuration.pinSHA256 ?? identity.pinSHA256
        )
    }

    private init(_ hubURL: String, _ token: Secret, nodeID: String, _ authorityFile: String?, _ pinSHA256: String?) {
        self.hubURL = hubURL
        self.token = token
        self.nodeID = nodeID
        self.authorityFile = authorityFile
        self.pinSHA256 = pinSHA256
    }
}
