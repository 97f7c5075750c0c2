import WebSocketKitLite

/// Where a bot in a container is reached from the node.
enum ContainerChat {
    /// The URL as the node sees it.
    ///
    /// A bot whose port is published knows only its own side: it listens on every address of the container and says so.
    /// The port is the same on both sides, and any other port would be that of a stranger on the node.
    ///
    /// - Parameter url: as the bot named it; nil for the one the contract gives it.
    /// - Throws: `BotChatError.notLoopback` for a URL that does not lead to the bot, `.notConnected` without a network.
    static func url(_ url: String?, network: String, port: UInt16) throws(BotChatError) -> String {
        let settings = ContainerSettings(image: "", network: network)
        guard settings.hasNetwork else { throw .notConnected("the profile gives the bot no network") }
        guard let url else { return "http://127.0.0.1:\(port)/chat" }
        guard !settings.usesHostNetwork else { return url }
        guard let endpoint = try? Endpoint(url), endpoint.scheme == .http, endpoint.port == Int(clamping: port),
            endpoint.isLoopback || ["0.0.0.0", "::"].contains(endpoint.host)
        else { throw .notLoopback(url) }
        return "http://127.0.0.1:\(port)\(endpoint.target)"
    }
}
