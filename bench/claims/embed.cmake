# Writes OUT, a C file with the bytes of FILE as the text claims_json. usage: cmake -DOUT=... -DFILE=... -P embed.cmake
file(READ ${FILE} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT}.tmp "// Made by embed.cmake from claims.json.\n#include \"claims.h\"\n\nconst unsigned char claims_json[] = {\n${bytes}0x00};\n")
file(RENAME ${OUT}.tmp ${OUT})
