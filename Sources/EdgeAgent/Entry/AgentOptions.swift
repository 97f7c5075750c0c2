import ArgumentParser
import FoundationEssentials

/// The options that several commands share; each can also stand in the environment or the configuration file.
struct AgentOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The hub's URL, such as https://hub.example:8443.", valueName: "url"))
    var hub: String?

    @Option(help: ArgumentHelp("Directory for identity, journal and bots.", valueName: "directory"))
    var stateDir: String?

    @Option(help: ArgumentHelp("PEM file with the authority that signed the hub's certificate.", valueName: "file"))
    var caFile: String?

    @Option(
        name: .customLong("pin-sha256"),
        help: ArgumentHelp(
            "SHA-256 of the hub's public key, in hexadecimal or Base64; no other key is accepted.",
            valueName: "pin"
        )
    )
    var pinSHA256: String?

    @Flag(help: "Allow unencrypted http:// and ws:// to another machine. Everybody on the way can read and change it.")
    var insecure = false

    @Option(
        help: ArgumentHelp(
            "Proxy on the way to the hub: http://[user:password@]host:port, socks5://…, or none. Default: HTTPS_PROXY "
                + "and its like. Everybody who can list processes sees a password here; prefer EDGE_PROXY.",
            valueName: "url"
        )
    )
    var proxy: String?

    @Option(help: ArgumentHelp("PEM file with a client certificate and its chain.", valueName: "file"))
    var clientCert: String?

    @Option(help: ArgumentHelp("PEM file with its unencrypted key (default: the same file).", valueName: "file"))
    var clientKey: String?

    @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel: String?

    @Option(help: ArgumentHelp("Configuration file (default: \(ConfigurationFile.defaultPath)).", valueName: "file"))
    var config: String?

    /// The settings these flags, the environment and the file come to.
    func resolve(_ more: [AgentConfiguration.Key: String] = [:]) throws(AgentError) -> AgentConfiguration {
        var flags = more
        flags[.hubURL] = hub
        flags[.stateDirectory] = stateDir
        flags[.authorityFile] = caFile
        flags[.pinSHA256] = pinSHA256
        flags[.proxy] = proxy
        flags[.clientCertificate] = clientCert
        flags[.clientKey] = clientKey
        flags[.logLevel] = logLevel
        if insecure { flags[.insecure] = "true" }
        return try AgentConfiguration(flags: flags, file: config, environment: ProcessInfo.processInfo.environment)
    }
}
