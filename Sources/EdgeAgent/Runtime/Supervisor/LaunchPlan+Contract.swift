extension LaunchPlan {
    /// The environment the bot contract promises, with a token and a packet prefix for this launch alone.
    ///
    /// - Parameters:
    ///   - config, workspace, home: paths as the bot sees them.
    static func contractEnvironment(
        _ request: LaunchRequest,
        config: String,
        workspace: String,
        home: String
    ) -> [String: String] {
        [
            "HOME": home,
            "BOT_ID": request.botID,
            "BOT_NAME": request.name,
            "BOT_CONFIG": config,
            "BOT_WORKSPACE": workspace,
            "BOT_CHAT_HOST": "127.0.0.1",
            "BOT_CHAT_PORT": String(request.chatPort),
            "BOT_CHAT_TOKEN": RandomText.hex(bytes: 32),
            "BOT_PACKET_PREFIX": "@@packet-\(RandomText.hex(bytes: 16)) ",
        ]
    }
}
