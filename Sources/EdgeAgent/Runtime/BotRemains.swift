/// What stays of a bot that is removed.
struct BotRemains: OptionSet, Sendable {
    let rawValue: Int

    static let workspace = BotRemains(rawValue: 1)
    /// What the bot has written can be read on.
    static let log = BotRemains(rawValue: 2)
}
