// swift-tools-version: 6.2

import PackageDescription

/// The settings of the main package.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

// Measures the kit's client and the hub's WebSocket server. A package of its own, so that the product builds without
// it. What lies elsewhere in the repository comes in by symbolic links in Sources/: the kit as the module it is for
// everybody else, and the hub's folder Gateway/WebSocket as the server.
let package = Package(
    name: "websocket-bench",
    products: [
        .executable(name: "websocket-bench", targets: ["WebSocketBench"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl"),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib"),
        .systemLibrary(name: "CLinux"),
        .target(
            name: "WebSocketKitLite",
            dependencies: ["COpenSSL", "CZlib", "CLinux"],
            swiftSettings: strict
        ),
        // The codec is internal to the kit, so its speed is measured from within a module that holds it.
        .target(name: "CodecSpeed", dependencies: ["CLinux"], swiftSettings: strict),
        .executableTarget(
            name: "WebSocketBench",
            dependencies: [
                "CLinux", "CodecSpeed", "WebSocketKitLite",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HummingbirdTLS", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict
        ),
    ],
    swiftLanguageModes: [.v6]
)
