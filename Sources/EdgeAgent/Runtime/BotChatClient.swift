/// Speaks to a bot at its chat endpoint, with the token its launch was given.
struct BotChatClient: Sendable {
    /// How long `/healthz` may take.
    private static let healthTimeout = Duration.seconds(5)

    let transport: any BotChatTransport

    /// - Parameters:
    ///   - plan: of the launch.
    ///   - url: as the bot named it; nil for the one the contract gives it.
    func post(
        _ plan: LaunchPlan,
        url: String?,
        body: [UInt8],
        timeout: Duration
    ) async throws(BotChatError) -> BotChatAnswer {
        let chat = url ?? Self.defaultURL(plan)
        return try await transport.post(url: chat, token: Self.token(plan), body: body, timeout: timeout)
    }

    func isHealthy(_ plan: LaunchPlan, url: String?) async -> Bool {
        guard let origin = Self.origin(url ?? Self.defaultURL(plan)) else { return false }
        // No answer is an answer: the bot is not well.
        let answer = try? await transport.get(
            url: origin + "/healthz",
            token: Self.token(plan),
            timeout: Self.healthTimeout
        )
        return answer?.status == 200
    }

    private static func defaultURL(_ plan: LaunchPlan) -> String {
        let host = plan.environment["BOT_CHAT_HOST", default: "127.0.0.1"]
        let port = plan.environment["BOT_CHAT_PORT", default: "0"]
        return "http://\(host):\(port)/chat"
    }

    private static func token(_ plan: LaunchPlan) -> String {
        plan.environment["BOT_CHAT_TOKEN", default: ""]
    }

    private static func origin(_ url: String) -> String? {
        guard url.hasPrefix("http://") else { return nil }
        let rest = url.dropFirst(7)
        return "http://" + rest[..<(rest.firstIndex(of: "/") ?? rest.endIndex)]
    }
}
